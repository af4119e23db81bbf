// Charts: uPlot in this dashboard's colours. `chart.show(data)` takes columns, the first of them Unix seconds.

import { colour, h } from "./dom.js";
import { moment, short } from "./format.js";

let library;

/** uPlot is a classic script; it is fetched when a page first draws a chart. */
function uplot() {
  library ??= new Promise((resolve, reject) => {
    document.head.append(h("link", { rel: "stylesheet", href: "/static/vendor/uPlot.min.css" }));
    document.head.append(h("script", { src: "/static/vendor/uPlot.iife.min.js", onload: () => resolve(window.uPlot), onerror: reject }));
  });
  return library;
}

const number = (unit) => (plot, value) => (value == null ? "–" : `${value.toLocaleString("en-US", { maximumSignificantDigits: 4 })} ${unit}`.trim());

/** Lines over time; `lines` are [name, colour, unit?]. A minute without a value does not break a line. */
export function lines(label, unit, series) {
  return chart(label, { unit, time: true }, (Plot) => series.map(([name, tone, of = unit]) => ({
    label: name, stroke: () => colour(tone), width: 1.5, spanGaps: true, value: number(of), points: { size: 4 },
  })));
}

/** Bars over time, the later series in front of the earlier ones. */
export function bars(label, unit, series) {
  return chart(label, { unit, time: true, zero: true }, (Plot) => series.map(([name, tone]) => ({
    label: name, stroke: () => colour(tone), fill: () => colour(tone), width: 0, value: number(""), points: { show: false },
    paths: Plot.paths.bars({ size: [0.8, 24] }),
  })));
}

/** A histogram: `chart.show([bounds in ms, counts])`; every bar is one factor of latency wide. */
export function histogram(label) {
  let bounds = [];
  const axis = { values: (plot, places) => places.map((place) => (Number.isInteger(place) && bounds[place] ? significant(bounds[place]) : "")) };
  const box = chart(label, { unit: "", zero: true, axis, at: (place) => `≤ ${significant(bounds[place])} ms` }, (Plot) => [{
    label: "predictions", stroke: () => colour("accent"), fill: () => colour("accent"), width: 0, value: number(""),
    points: { show: false }, paths: Plot.paths.bars({ size: [0.86, 64] }),
  }]);
  const { show } = box;
  box.show = ([newBounds, counts], text) => {
    bounds = newBounds;
    show([bounds.map((_, index) => index), counts], text);
  };
  return box;
}

const significant = (value) => value.toLocaleString("en-US", { maximumSignificantDigits: 3 });

function chart(label, { unit, time, zero, axis = {}, at }, seriesOf) {
  const box = h("figure", { class: "chart", role: "img", "aria-label": label });
  let plot, data, shown;

  async function draw() {
    const Plot = await uplot();
    if (!data || !box.clientWidth) return;
    if (plot) return plot.setData(data);
    const frame = { stroke: () => colour("muted"), grid: { stroke: () => colour("line"), width: 1 }, ticks: { show: false },
      font: "11px system-ui, sans-serif" };
    plot = new Plot({
      width: box.clientWidth, height: 190,
      scales: { x: { time: Boolean(time), range: (self, low, high) => (time ? period(self.data[0], low, high) : [low - 0.6, high + 0.6]) },
        y: { range: (_, low, high) => scale(low, high, zero) } },
      axes: [{ ...frame, size: 26, space: 64, ...(time ? { values: (_, at) => clock(at) } : {}), ...axis }, { ...frame, size: 54, values: (_, ticks) => ticks.map((tick) => (tick >= 1000 ? short(tick) : `${tick}`)) }],
      series: [{ label: time ? "at" : "latency", value: (_, place) => (place == null ? "–" : time ? moment(place) : at(place)) }, ...seriesOf(Plot)],
      cursor: { points: { size: 6 } },
    }, data, box);
  }

  box.show = (newData, text) => {
    if (text) box.setAttribute("aria-label", `${label}: ${text}`);
    const print = JSON.stringify(newData);
    if (print === shown) return;
    shown = print;
    data = newData;
    draw();
  };
  new ResizeObserver(() => plot ? plot.setSize({ width: box.clientWidth, height: 190 }) : draw()).observe(box);
  const again = () => plot?.redraw(false, true);
  document.addEventListener("schemechange", again);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  return box;
}

/** At least ten minutes, so that a first reading is no plateau. */
function period(times, low, high) {
  if (!times.length) return [0, 1];
  return times.length === 1 ? [times[0] - 300, times[0] + 300] : [Math.min(low, high - 600), high];
}

/** Times of day; dates where ticks are days apart. */
function clock(ticks) {
  const days = ticks.length > 1 && ticks[1] - ticks[0] >= 86400;
  return ticks.map((at) => (days ? moment(at).slice(5, 10) : moment(at).slice(11, 16)));
}

/** From zero where that says something, with a little air above. */
function scale(low, high, zero) {
  if (low == null || high == null) return [0, 1];
  const floor = zero || low < (high - low) * 2 ? Math.min(0, low) : low - (high - low || low || 1) * 0.1;
  return [floor, high + (high - floor || 1) * 0.08];
}
