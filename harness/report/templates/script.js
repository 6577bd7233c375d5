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
      `#${division.id} tr[data-t="${Number(team)}"] > * { background: var(--raised); }`;
  };
  division.addEventListener("mouseover", (event) => {
    if (pinned !== null) return;
    const mark = event.target.closest("svg [data-t]");
    light(mark ? mark.dataset.t : null);
  });
  division.addEventListener("mouseleave", () => pinned === null && light(null));
  division.addEventListener("click", (event) => {
    if (event.target.closest("a, button, input, summary")) return;
    const mark = event.target.closest("[data-t]");
    pinned = mark && pinned !== mark.dataset.t ? mark.dataset.t : null;
    light(pinned);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") light((pinned = null));
  });
}

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
