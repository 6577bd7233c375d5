
// The case browser: unpacks the volumes of this page and draws three planes of them.
const held = document.getElementById("case-data");
if (held) {
  const data = JSON.parse(held.content.textContent);
  const [W, H, D] = data.shape;
  const SIZES = [W, H, D];
  // Of each plane: the axes across and down, the axis through it, and whether down runs against its axis.
  const PLANES = [[0, 1, 2, false], [0, 2, 1, true], [1, 2, 0, true]];
  const MISSED = [255, 59, 92], FALSE = [255, 214, 10], WRONG = [180, 139, 255];
  const at = [W >> 1, H >> 1, D >> 1];
  const shown = new Set(data.labels.map((label) => label.value));
  const colour = new Map(data.labels.map((label) => [label.value, label.colour]));
  const el = (id) => document.getElementById(id);
  const sections = [...document.querySelectorAll(".plane")];
  let grey, reference, prediction, profiles, active = 0, table = new Uint8ClampedArray(256);

  const bytes = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  const unpack = async (text, under) => {
    const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
    const buffer = await new Response(stream).arrayBuffer();
    const count = buffer.byteLength / 5;
    const lengths = new Uint32Array(buffer, 0, count), values = new Uint8Array(buffer, 4 * count);
    const out = new Uint8Array(W * H * D);
    for (let run = 0, start = 0; run < count; start += lengths[run++]) out.fill(values[run], start, start + lengths[run]);
    if (under) for (let i = 0; i < out.length; i++) out[i] ^= under[i];
    return out;
  };
  const decode = async () => {
    const image = new Image();
    image.src = `data:image/jpeg;base64,${data.image}`;
    await image.decode();
    const strip = document.createElement("canvas");
    strip.width = image.width;
    strip.height = H;
    const pen = strip.getContext("2d", { willReadFrequently: true });
    const out = new Uint8Array(W * H * D);
    for (let row = 0; row * data.across < D; row++) {
      pen.drawImage(image, 0, -row * H);
      const pixels = pen.getImageData(0, 0, strip.width, H).data;
      for (let tile = 0; tile < data.across && row * data.across + tile < D; tile++) {
        const z = row * data.across + tile;
        for (let y = 0; y < H; y++) for (let x = 0; x < W; x++)
          out[x + W * (y + H * z)] = pixels[4 * (y * strip.width + tile * W + x)];
      }
    }
    return out;
  };
  const intensity = (level) => {
    const k = data.knots;
    let i = 1;
    while (i < k.length - 1 && level > k[i][0]) i++;
    return k[i - 1][1] + (level - k[i - 1][0]) * (k[i][1] - k[i - 1][1]) / (k[i][0] - k[i - 1][0]);
  };
  const setWindow = () => {
    let [middle, width] = data.windows[el("window").value];
    const ends = [intensity(0), intensity(255)];
    if (!width) [middle, width] = [(ends[0] + ends[1]) / 2, ends[1] - ends[0]];
    for (let level = 0; level < 256; level++) table[level] = 255 * ((intensity(level) - middle) / width + 0.5);
  };
  const kind = (i) => {
    const a = shown.has(reference[i]) ? reference[i] : 0, b = shown.has(prediction[i]) ? prediction[i] : 0;
    return a === b ? null : a && b ? WRONG : a ? MISSED : FALSE;
  };
  const measure = () => {
    profiles = SIZES.map((size) => new Uint32Array(size));
    for (let z = 0, i = 0; z < D; z++) for (let y = 0; y < H; y++) for (let x = 0; x < W; x++, i++)
      if (reference[i] !== prediction[i] && kind(i)) { profiles[0][x]++; profiles[1][y]++; profiles[2][z]++; }
    sections.forEach((section, plane) => {
      const canvas = section.querySelector(".profile"), own = profiles[PLANES[plane][2]];
      const most = Math.max(...own, 1);
      canvas.width = own.length;
      canvas.height = 24;
      const pen = canvas.getContext("2d");
      pen.fillStyle = "#ff3b5c";
      own.forEach((count, x) => pen.fillRect(x, 24 - 24 * count / most, 1, 24 * count / most));
    });
  };
  const worst = () => profiles.forEach((own, axis) => {
    const most = Math.max(...own);
    if (most) at[axis] = own.indexOf(most);
  });
  const index = (plane, u, v) => {
    const [across, down, through, turned] = PLANES[plane];
    const place = [0, 0, 0];
    place[across] = u;
    place[down] = turned ? SIZES[down] - 1 - v : v;
    place[through] = at[through];
    return place[0] + W * (place[1] + H * place[2]);
  };
  const layer = (columns, rows) => {
    const canvas = new OffscreenCanvas(columns, rows);
    return [canvas, canvas.getContext("2d"), new ImageData(columns, rows)];
  };
  const draw = (plane) => {
    const [across, down, through] = PLANES[plane];
    const columns = SIZES[across], rows = SIZES[down];
    const canvas = sections[plane].querySelector("canvas");
    const kx = Math.max(2, Math.round(720 / columns)), ky = kx * data.spacing[down] / data.spacing[across];
    canvas.width = columns * kx;
    canvas.height = Math.round(rows * ky);
    const pen = canvas.getContext("2d");
    const [picture, pictureInk, pixels] = layer(columns, rows);
    const [mask, maskInk, wrong] = layer(columns, rows);
    const outlines = { reference: new Map(), prediction: new Map() };
    const edge = (volume, paths) => {
      const label = (u, v) => {
        if (u < 0 || v < 0 || u >= columns || v >= rows) return 0;
        const value = volume[index(plane, u, v)];
        return shown.has(value) ? value : 0;
      };
      const line = (value, x1, y1, x2, y2) => {
        if (!value) return;
        if (!paths.has(value)) paths.set(value, new Path2D());
        paths.get(value).moveTo(x1 * kx, y1 * ky);
        paths.get(value).lineTo(x2 * kx, y2 * ky);
      };
      for (let v = 0; v <= rows; v++) for (let u = 0; u <= columns; u++) {
        const own = label(u, v), left = label(u - 1, v), above = label(u, v - 1);
        if (own !== left) for (const value of [own, left]) line(value, u, v, u, v + 1);
        if (own !== above) for (const value of [own, above]) line(value, u, v, u + 1, v);
      }
    };
    for (let v = 0, p = 0; v < rows; v++) for (let u = 0; u < columns; u++, p += 4) {
      const i = index(plane, u, v);
      pixels.data[p] = pixels.data[p + 1] = pixels.data[p + 2] = table[grey[i]];
      pixels.data[p + 3] = 255;
      const bad = kind(i);
      if (bad) wrong.data.set([...bad, 110], p);
    }
    pictureInk.putImageData(pixels, 0, 0);
    maskInk.putImageData(wrong, 0, 0);
    pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
    if (el("errors").checked) {
      pen.imageSmoothingEnabled = false;
      pen.drawImage(mask, 0, 0, canvas.width, canvas.height);
      pen.imageSmoothingEnabled = true;
    }
    pen.lineCap = "square";
    for (const [name, volume, width, alpha] of [["prediction", prediction, 5, .6], ["reference", reference, 1.8, 1]]) {
      if (!el(name).checked) continue;
      edge(volume, outlines[name]);
      pen.globalAlpha = alpha;
      pen.lineWidth = width;
      for (const [value, path] of outlines[name]) { pen.strokeStyle = colour.get(value); pen.stroke(path); }
    }
    pen.globalAlpha = .55;
    pen.strokeStyle = "#fff";
    pen.lineWidth = 1;
    const x = (at[across] + .5) * kx, y = ((PLANES[plane][3] ? rows - 1 - at[down] : at[down]) + .5) * ky;
    pen.beginPath();
    for (const [a, b, c, d] of [[x, 0, x, 10], [x, canvas.height - 10, x, canvas.height], [0, y, 10, y], [canvas.width - 10, y, canvas.width, y]]) {
      pen.moveTo(a, b);
      pen.lineTo(c, d);
    }
    pen.stroke();
    pen.globalAlpha = 1;
    const wrongHere = profiles[through][at[through]];
    sections[plane].querySelector("small").textContent = `${at[through] + 1} of ${SIZES[through]}, ${wrongHere.toLocaleString()} voxels wrong`;
    const slider = sections[plane].querySelector("input");
    slider.max = SIZES[through] - 1;
    slider.value = at[through];
    slider.setAttribute("aria-valuetext", `slice ${at[through] + 1}`);
    sections[plane].classList.toggle("active", plane === active);
  };
  const drawAll = () => [0, 1, 2].forEach(draw);
  const cell = (row, tag, text) => {
    const one = row.appendChild(document.createElement(tag));
    one.textContent = text;
    return one;
  };
  const list = () => {
    const own = data.methods[el("method").value], [head, body] = [el("scores").tHead, el("scores").tBodies[0]];
    head.replaceChildren();
    body.replaceChildren();
    const top = head.insertRow();
    for (const text of ["label", ...own.heads, "missed ml", "false ml"]) cell(top, "th", text).className = text === "label" ? "team" : "";
    const count = new Map(data.labels.map((label) => [label.value, [0, 0]]));
    for (let i = 0; i < reference.length; i++) if (reference[i] !== prediction[i]) {
      if (reference[i]) count.get(reference[i])[0]++;
      if (prediction[i]) count.get(prediction[i])[1]++;
    }
    const ml = data.spacing[0] * data.spacing[1] * data.spacing[2] / 1000;
    for (const label of data.labels) {
      const row = body.insertRow(), name = cell(row, "th", "");
      name.className = "team";
      const box = name.appendChild(document.createElement("input"));
      box.type = "checkbox";
      box.checked = shown.has(label.value);
      box.setAttribute("aria-label", `draw ${label.name}`);
      box.addEventListener("change", () => { box.checked ? shown.add(label.value) : shown.delete(label.value); measure(); drawAll(); });
      const go = name.appendChild(document.createElement("button"));
      go.type = "button";
      go.textContent = label.name;
      go.style.setProperty("--c", label.colour);
      go.addEventListener("click", () => { seek(label.value); drawAll(); });
      for (const text of own.scores[label.value]) cell(row, "td", text);
      for (const voxels of count.get(label.value)) cell(row, "td", (voxels * ml).toFixed(1));
    }
  };
  // Go to where a label is wrong most, or to its middle.
  const seek = (value) => {
    const wrong = SIZES.map((size) => new Uint32Array(size)), all = SIZES.map((size) => new Uint32Array(size));
    for (let z = 0, i = 0; z < D; z++) for (let y = 0; y < H; y++) for (let x = 0; x < W; x++, i++) {
      const a = reference[i] === value, b = prediction[i] === value;
      if (a || b) { all[0][x]++; all[1][y]++; all[2][z]++; }
      if (a !== b) { wrong[0][x]++; wrong[1][y]++; wrong[2][z]++; }
    }
    for (const axis of [0, 1, 2]) {
      const own = Math.max(...wrong[axis]) ? wrong[axis] : all[axis];
      if (Math.max(...own)) at[axis] = own.indexOf(Math.max(...own));
    }
  };
  const choose = async () => {
    const own = data.methods[el("method").value];
    prediction = await unpack(own.labels, reference);
    measure();
    list();
  };
  const step = (by) => {
    const axis = PLANES[active][2];
    at[axis] = Math.min(SIZES[axis] - 1, Math.max(0, at[axis] + by));
    drawAll();
  };
  const flip = (id) => { el(id).checked = !el(id).checked; drawAll(); };

  sections.forEach((section, plane) => {
    const canvas = section.querySelector("canvas"), slider = section.querySelector("input");
    slider.addEventListener("input", () => { active = plane; at[PLANES[plane][2]] = Number(slider.value); drawAll(); });
    canvas.addEventListener("wheel", (event) => { event.preventDefault(); active = plane; step(Math.sign(event.deltaY)); }, { passive: false });
    canvas.addEventListener("click", (event) => {
      const box = canvas.getBoundingClientRect(), [across, down, , turned] = PLANES[plane];
      active = plane;
      at[across] = Math.min(SIZES[across] - 1, Math.floor((event.clientX - box.left) / box.width * SIZES[across]));
      const v = Math.min(SIZES[down] - 1, Math.floor((event.clientY - box.top) / box.height * SIZES[down]));
      at[down] = turned ? SIZES[down] - 1 - v : v;
      drawAll();
    });
  });
  el("case").addEventListener("change", () => { location.href = el("case").value + location.hash; });
  el("method").addEventListener("change", async () => { await choose(); worst(); drawAll(); location.hash = `m=${data.methods[el("method").value].row}`; });
  el("window").addEventListener("change", () => { setWindow(); drawAll(); });
  for (const id of ["reference", "prediction", "errors"]) el(id).addEventListener("change", drawAll);
  el("worst").addEventListener("click", () => { worst(); drawAll(); });
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("select, input[type=range]") || event.ctrlKey || event.metaKey || event.altKey) return;
    const turn = (by) => {
      const count = data.methods.length;
      el("method").value = (Number(el("method").value) + by + count) % count;
      el("method").dispatchEvent(new Event("change"));
    };
    const acts = {
      ArrowUp: () => step(1), ArrowDown: () => step(-1), PageUp: () => step(5), PageDown: () => step(-5),
      1: () => { active = 0; drawAll(); }, 2: () => { active = 1; drawAll(); }, 3: () => { active = 2; drawAll(); },
      "[": () => turn(-1), "]": () => turn(1), w: () => { worst(); drawAll(); },
      r: () => flip("reference"), p: () => flip("prediction"), e: () => flip("errors"),
      0: () => { data.labels.forEach((label) => shown.add(label.value)); measure(); list(); drawAll(); },
    };
    if (acts[event.key]) { event.preventDefault(); acts[event.key](); }
  });
  (async () => {
    const wanted = data.methods.findIndex((own) => `#m=${own.row}` === location.hash);
    el("method").value = Math.max(wanted, 0);
    [grey, reference] = await Promise.all([decode(), unpack(data.reference)]);
    el("grid").textContent = `${W} × ${H} × ${D} voxels of ${data.spacing.map((size) => size.toFixed(2)).join(" × ")} mm`;
    setWindow();
    await choose();
    worst();
    drawAll();
    el("viewer").dataset.ready = "yes";
  })();
}
