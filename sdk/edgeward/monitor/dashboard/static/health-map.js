// Every device as a cell, in the order of their ids, coloured by its condition.

import { ask } from "./api.js";
import { colour, h } from "./dom.js";
import { CONDITION_NAMES, CONDITIONS, count, devicePath } from "./format.js";

const LARGEST_CELL = 18, HEIGHT = 148, WAIT_MS = 60;

/** `map.show(cells)` draws a string with one digit for each device: the place of its condition in CONDITIONS. */
export function healthMap() {
  const canvas = h("canvas", { class: "map", role: "img" });
  const tip = h("div", { class: "map-tip", hidden: true });
  const box = h("div", {}, canvas, tip);
  let cells = "", layout = { size: 1, columns: 1 };

  function draw() {
    const width = canvas.clientWidth;
    if (!cells || !width) return;
    layout = fit(cells.length, width);
    const { size, columns } = layout, ratio = devicePixelRatio;
    const height = Math.ceil(cells.length / columns) * size;
    Object.assign(canvas, { width: width * ratio, height: height * ratio });
    canvas.style.height = `${height}px`;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const gap = size >= 8 ? 2 : size >= 4 ? 1 : 0;
    const colours = ["ok-cell", "warning", "bad", "offline"].map(colour);
    colours.forEach((fill, condition) => {
      pen.fillStyle = fill;
      for (let index = 0; index < cells.length; index++)
        if (cells.charCodeAt(index) - 48 === condition)
          pen.fillRect((index % columns) * size, Math.floor(index / columns) * size, size - gap, size - gap);
    });
  }

  async function deviceAt(event) {
    const column = Math.floor(event.offsetX / layout.size);
    const index = Math.floor(event.offsetY / layout.size) * layout.columns + column;
    if (column >= layout.columns || index >= cells.length || index < 0) return null;
    const { body } = await ask("/api/devices", { query: { sort: "id", offset: index, limit: 1 } });
    return body[0];
  }

  let waiting;
  canvas.addEventListener("pointermove", (event) => {
    clearTimeout(waiting);
    waiting = setTimeout(async () => {
      const device = await deviceAt(event);
      tip.hidden = !device;
      if (!device) return;
      tip.textContent = `${device.id}: ${[CONDITION_NAMES[device.condition], ...device.reasons].join(", ")}`;
      tip.style.left = `${Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8)}px`;
      tip.style.top = `${event.clientY + 14}px`;
    }, WAIT_MS);
  });
  canvas.addEventListener("pointerleave", () => { clearTimeout(waiting); tip.hidden = true; });
  canvas.addEventListener("click", async (event) => {
    const device = await deviceAt(event);
    if (device) location.assign(devicePath(device.id));
  });
  new ResizeObserver(draw).observe(box);
  document.addEventListener("schemechange", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  box.show = (newCells, counts) => {
    canvas.setAttribute("aria-label", `Health of ${count(newCells.length)} devices: ` +
      CONDITIONS.map((name) => `${count(counts[name])} ${CONDITION_NAMES[name]}`).join(", "));
    if (newCells === cells) return;
    cells = newCells;
    draw();
  };
  return box;
}

/** The largest cells that keep the map within its height. */
function fit(number, width) {
  let size = LARGEST_CELL;
  while (size > 2 && Math.ceil(number / Math.floor(width / size)) * size > HEIGHT) size -= 1;
  return { size, columns: Math.max(1, Math.floor(width / size)) };
}
