"use strict";

// Sorting: numbers by data-v, words by their text; cells without a value stay at the end.
const value = (row, column) => {
  const cell = row.cells[column];
  if (cell.dataset.v === undefined) return cell.textContent.trim().toLowerCase();
  return cell.dataset.v === "" ? null : Number(cell.dataset.v);
};
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const first = head.dataset.first || "descending";
      const next = head.ariaSort === null ? first : head.ariaSort === "ascending" ? "descending" : "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", next);
      const sign = next === "ascending" ? 1 : -1;
      const rows = [...table.tBodies[0].rows].map((row, index) => [value(row, column), index, row]);
      rows.sort(([a, i], [b, j]) => {
        if (a === null || b === null) return (a === null) - (b === null) || i - j;
        return (a < b ? -sign : a > b ? sign : 0) || i - j;
      });
      table.tBodies[0].append(...rows.map(([, , row]) => row));
      table.classList.add("resorted");
    });
  });
}

// Filtering: every word must occur in the row's name.
for (const input of document.querySelectorAll("input[data-filters]")) {
  const table = document.getElementById(input.dataset.filters);
  const count = document.getElementById(input.dataset.counts);
  const apply = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = [...table.tBodies[0].rows];
    for (const row of rows) {
      const text = row.dataset.search.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
  };
  input.addEventListener("input", apply);
}

// Pointing at a method dims the others in every figure of its division.
for (const division of document.querySelectorAll(".division")) {
  const rule = document.head.appendChild(document.createElement("style"));
  let pinned = null;
  const light = (team) => {
    rule.textContent = team === null ? "" :
      `#${division.id} svg [data-t]:not([data-t="${Number(team)}"]) { opacity: .13 !important; }` +
      `#${division.id} table:not(.heat) tr[data-t="${Number(team)}"] > * { background: var(--raised); }` +
      `#${division.id} table.heat tr[data-t="${Number(team)}"] { outline: 2px solid var(--ink); outline-offset: -1px; }`;
  };
  division.addEventListener("mouseover", (event) => {
    if (pinned !== null) return;
    const mark = event.target.closest("svg [data-t]");
    light(mark ? mark.dataset.t : null);
  });
  division.addEventListener("mouseleave", () => pinned === null && light(null));
  division.addEventListener("click", (event) => {
    if (event.target.closest("a, button, input, select, label, summary")) return;
    const mark = event.target.closest("[data-t]");
    pinned = mark && pinned !== mark.dataset.t ? mark.dataset.t : null;
    light(pinned);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") light((pinned = null));
  });
}

// A switch shows one of several tables.
for (const input of document.querySelectorAll(".switch input, .choice select")) {
  input.addEventListener("change", () => {
    for (const part of input.closest("figure").querySelectorAll("[data-tab]")) part.hidden = part.dataset.tab !== input.value;
    mark();
  });
}

// What is wider than its column says so.
const mark = () => {
  for (const box of document.querySelectorAll(".scroll")) {
    const wider = box.scrollWidth > box.clientWidth + 2;
    box.classList.toggle("wider", wider);
    if (!box.hint) {
      box.hint = document.createElement("p");
      box.hint.className = "hint";
      box.hint.textContent = "↔ wider than this column: scroll sideways";
      box.before(box.hint);
    }
    box.hint.classList.toggle("shown", wider);
  }
};
addEventListener("resize", mark);
mark();

// What a reader works with: drawn here, from the data beside it.
const shape = (parent, tag, attributes, text) => {
  const one = parent.appendChild(document.createElementNS("http://www.w3.org/2000/svg", tag));
  for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
  if (text !== undefined) one.textContent = text;
  return one;
};
const sized = (svg, width, height) => {
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("width", width);
  svg.setAttribute("height", height);
  return svg;
};
const short = (name, most) => name.length > most ? `${name.slice(0, most - 1)}…` : name;
const DRAWS = {
  difference: (figure, svg, data, width) => {
    const [first, second] = [...figure.querySelectorAll("select")].map((box) => Number(box.value));
    const rows = data.cases.map((name, at) => [name, data.scores[first][at], data.scores[second][at], at])
      .filter(([, a, b]) => a !== null && b !== null)
      .map(([name, a, b, at]) => [name, a - b, a, b, data.failed[first].includes(at) || data.failed[second].includes(at)])
      .sort((a, b) => b[1] - a[1]);
    const most = Math.max(1, ...rows.map((row) => Math.abs(row[1]))), middle = 150, high = 130;
    const step = (width - 60) / Math.max(rows.length, 12), named = step >= 13;
    sized(svg, width, named ? 390 : 300);
    const y = (value) => middle - value / most * high;
    for (const value of [most, most / 2, 0, -most / 2, -most]) {
      shape(svg, "path", { d: `M50 ${y(value)}H${width - 5}`, class: "grid" });
      shape(svg, "text", { x: 44, y: y(value) + 4, class: "tick end" }, `${value > 0 ? "+" : ""}${value.toFixed(most < 10 ? 1 : 0)}`);
    }
    rows.forEach(([name, gap, a, b, lost], at) => {
      const x = 52 + step * at;
      const bar = shape(svg, "rect", { x, width: Math.max(step - 2, .8), y: Math.min(y(gap), middle), height: Math.max(Math.abs(y(gap) - middle), 1),
        class: `${gap >= 0 ? "gain" : "loss"}${lost ? " rim" : ""}` });
      shape(bar, "title", {}, `${name}: ${a.toFixed(2)} against ${b.toFixed(2)}, ${gap > 0 ? "+" : ""}${gap.toFixed(2)}${lost ? ", one failed" : ""}`);
      if (named) shape(svg, "text", { x: x + step / 2 + 4, y: 296, class: "end name", transform: `rotate(-45 ${x + step / 2 + 4} 296)` }, short(name, 18));
    });
    const wins = rows.filter((row) => row[1] > 0).length, losses = rows.filter((row) => row[1] < 0).length;
    const mean = rows.reduce((sum, row) => sum + row[1], 0) / Math.max(rows.length, 1);
    figure.querySelector("[aria-live]").textContent = `better in ${wins}, worse in ${losses} of ${rows.length} cases; mean difference ${mean > 0 ? "+" : ""}${mean.toFixed(2)}`;
  },
  weights: (figure, svg, data, width) => {
    const chosen = [...figure.querySelectorAll("input")].map((box) => Number(box.value));
    figure.querySelectorAll("output").forEach((out, at) => { out.textContent = Number(chosen[at].toFixed(3)); });
    const total = chosen.reduce((sum, weight) => sum + weight, 0) || 1;
    const scores = data.parts.map((parts) => parts.reduce((sum, part, at) => sum + part * chosen[at], 0) / total);
    const order = scores.map((_, team) => team).sort((a, b) => scores[a] - scores[b] || a - b);
    const most = Math.max(...scores, 1e-9), height = order.length > 20 ? 17 : 24;
    const names = width < 700 ? 118 : 190, bars = names + 80, room = width - bars - 50;
    sized(svg, width, order.length * height + 8);
    order.forEach((team, at) => {
      const rank = 1 + scores.filter((score) => score < scores[team] - 1e-9).length, moved = data.ranks[team] - rank;
      const y = at * height + 4, own = team < 8 ? `m${team + 1}` : "m0";
      const said = `${rank}${moved ? ` (was ${data.ranks[team]})` : ""}`;
      shape(svg, "text", { x: names, y: y + height / 2 + 3, class: "end name", "data-t": team }, short(data.teams[team], width < 700 ? 16 : 26));
      shape(svg, "text", { x: names + 10, y: y + height / 2 + 3, class: "tick", "data-t": team }, said);
      shape(svg, "rect", { x: bars, y, width: room * scores[team] / most, height: height - 4, class: `amount ${own}`, "data-t": team });
      shape(svg, "text", { x: bars + 6 + room * scores[team] / most, y: y + height / 2 + 3, class: "tick" }, scores[team].toFixed(2));
    });
  },
};
for (const holder of document.querySelectorAll("[data-draws]")) {
  const figure = holder.closest("figure"), svg = holder.querySelector("svg");
  const data = JSON.parse(figure.querySelector("template").content.textContent);
  let drawn = 0;
  const again = () => DRAWS[holder.dataset.draws](figure, svg, data, drawn);
  const fit = (width) => {
    const next = Math.max(330, Math.min(1100, width || 1100));
    if (next !== drawn) { drawn = next; again(); }
  };
  figure.addEventListener("input", again);
  addEventListener("resize", () => fit(holder.clientWidth));
  addEventListener("beforeprint", () => fit(1100));
  figure.querySelector(".work button")?.addEventListener("click", () => {
    figure.querySelectorAll("input").forEach((box, at) => { box.value = data.weights[at]; });
    again();
  });
  fit(holder.clientWidth);
}
mark();

// Every figure can be kept as a picture, every table as CSV.
const keep = (name, type, content) => {
  const link = document.createElement("a");
  link.download = name;
  link.href = content.startsWith("data:") ? content : URL.createObjectURL(new Blob([content], { type }));
  link.click();
};
const LOOKS = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "opacity", "fill-opacity",
  "font-size", "font-weight", "font-family", "text-anchor", "paint-order", "stroke-linejoin"];
const drawing = (figure) => {
  const parts = [...figure.querySelectorAll("svg")].filter((svg) => svg.getBoundingClientRect().width);
  const frame = figure.getBoundingClientRect();
  const width = Math.max(...parts.map((svg) => svg.getBoundingClientRect().right)) - frame.left + 12;
  const start = Math.min(...parts.map((svg) => svg.getBoundingClientRect().top)) - 12;
  const height = Math.max(...parts.map((svg) => svg.getBoundingClientRect().bottom)) - start + 12;
  const inner = parts.map((svg) => {
    const copy = svg.cloneNode(true);
    const from = [svg, ...svg.querySelectorAll("*")];
    [copy, ...copy.querySelectorAll("*")].forEach((node, at) => {
      const look = getComputedStyle(from[at]);
      node.removeAttribute("class");
      node.setAttribute("style", LOOKS.map((name) => `${name}:${look.getPropertyValue(name)}`).join(";"));
    });
    const box = svg.getBoundingClientRect();
    copy.setAttribute("x", box.left - frame.left);
    copy.setAttribute("y", box.top - start);
    copy.setAttribute("width", box.width);
    copy.setAttribute("height", box.height);
    return new XMLSerializer().serializeToString(copy);
  });
  const paper = getComputedStyle(figure).backgroundColor;
  return { width, height, text: `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">` +
    `<rect width="100%" height="100%" fill="${paper}"/>${inner.join("")}</svg>` };
};
const savePng = (name, { width, height, text }) => {
  const image = new Image();
  image.onload = () => {
    const canvas = document.createElement("canvas");
    canvas.width = 2 * width;
    canvas.height = 2 * height;
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    keep(`${name}.png`, "image/png", canvas.toDataURL("image/png"));
  };
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
};
const csv = (table) => [...table.rows].map((row) => [...row.cells].map((cell) => {
  const raw = cell.dataset.v ? cell.dataset.v : cell.innerText.trim().replace(/\s+/g, " ");
  const text = /^[=+@\t]|^-[^\d.]/.test(raw) ? `'${raw}` : raw;
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}).join(",")).join("\r\n");
const offer = (holder, before, options) => {
  const bar = document.createElement("div");
  bar.className = "save";
  for (const [label, act] of options) {
    const one = document.createElement("button");
    one.type = "button";
    one.textContent = label;
    one.title = `Download as ${label}`;
    one.addEventListener("click", act);
    bar.append(one);
  }
  holder.insertBefore(bar, before);
};
for (const figure of document.querySelectorAll("figure")) {
  const table = () => [...figure.querySelectorAll("table")].find((one) => one.offsetParent);
  const options = [];
  if (figure.querySelector("svg")) {
    options.push(["SVG", () => keep(`${figure.id}.svg`, "image/svg+xml", drawing(figure).text)]);
    options.push(["PNG", () => savePng(figure.id, drawing(figure))]);
  }
  if (figure.querySelector("table")) options.push(["CSV", () => keep(`${figure.id}.csv`, "text/csv", csv(table()))]);
  if (options.length) offer(figure, figure.firstElementChild, options);
}
for (const table of document.querySelectorAll(".card table")) {
  const holder = table.closest(".scroll") ?? table;
  const name = table.id || document.title.replace(/\W+/g, "-");
  offer(holder.parentElement, holder, [["CSV", () => keep(`${name}.csv`, "text/csv", csv(table))]]);
}

// Paper shows what is folded away.
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});

// The theme follows the system until it is chosen here.
const button = document.querySelector("button.theme");
const dark = () => {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};
const name = () => (button.textContent = dark() ? "light theme" : "dark theme");
button.addEventListener("click", () => {
  document.documentElement.dataset.theme = dark() ? "light" : "dark";
  name();
});
name();
