// A table whose rows stay the same elements while their contents change.

import { h, keyed } from "./dom.js";

/**
 * `columns`: {label, text(item), cell?(item), sort?, right?, wide?, minor?, extra?}; `cell` makes the contents anew whenever
 * `text` differs, `wide` columns wrap; `minor` ones are left out on a phone, `extra` ones on any narrow screen.
 * `onsort(key)` is called for columns with `sort`; `table.show(items, sorted)` fills it.
 */
export function table(label, columns, keyOf, { onsort, empty = "Nothing here yet." } = {}) {
  const heads = columns.map((column) => head(column, onsort));
  const body = h("tbody");
  const nothing = h("p", { class: "muted nothing", hidden: true }, empty);
  const grid = h("table", { "aria-label": label }, h("thead", {}, h("tr", {}, heads)), body);
  const box = h("div", { class: "scroll" }, grid, nothing);
  box.show = (items, sorted) => {
    nothing.hidden = items.length > 0;
    grid.hidden = items.length === 0;
    columns.forEach(({ sort }, index) => {
      if (sort) heads[index].setAttribute("aria-sort", sort === sorted ? "descending" : "none");
    });
    keyed(body, items, keyOf, () => row(columns), (line, item) => fill(line, columns, item));
  };
  box.empty = (text) => { nothing.textContent = text; };
  return box;
}

function head({ label, sort, ...column }, onsort) {
  const contents = sort ? h("button", { class: "quiet", onclick: () => onsort(sort) }, label) : label;
  return h("th", { scope: "col", class: kind(column) }, contents);
}

const kind = (column) => ["right", "wide", "minor", "extra"].filter((name) => column[name]).join(" ") || null;

const row = (columns) => h("tr", {}, columns.map((column) => h("td", { class: kind(column) })));

function fill(line, columns, item) {
  columns.forEach((column, index) => {
    const cell = line.children[index];
    const text = String(column.text(item));
    if (cell.shown === text) return;
    cell.shown = text;
    cell.replaceChildren(column.cell ? column.cell(item) : text);
  });
}
