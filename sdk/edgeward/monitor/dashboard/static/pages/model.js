// One model over the fleet: how fast, by release, target and variant; how its inputs drift.

import { ask, live } from "../api.js";
import { bars, histogram, lines } from "../charts.js";
import { h, panel, tile } from "../dom.js";
import * as format from "../format.js";
import { table } from "../table.js";
import { columns, timeWindow } from "../windows.js";

export function show(content, name) {
  document.title = `${name} · edgeward`;
  const api = `/api/models/${encodeURIComponent(name)}`;
  const tiles = { devices: tile("Devices"), predictions: tile("Predictions"), errors: tile("Errors"), p50: tile("p50"),
    p95: tile("p95"), p99: tile("p99"), drift: tile("Worst drift") };
  const latency = lines("Latency over time", "ms", [["p50", "accent"], ["p95", "warning"], ["p99", "bad"]]);
  const predictions = bars("Predictions over time", "", [["predictions", "accent"], ["errors", "bad"]]);
  const spread = histogram("All latencies");
  const parts = { release: groups("Release"), target: groups("Target"), variant: groups("Variant") };
  const drifting = drift();
  const drifts = lines("Drift, confidence and accuracy over time", "", [["drift", "warning"], ["mean confidence", "accent"], ["accuracy", "ok"]]);
  const period = timeWindow(() => refreshCharts());
  content.replaceChildren(
    h("div", { class: "title" }, h("h1", {}, name), h("a", { href: `/?model=${encodeURIComponent(name)}` }, "its devices")),
    h("div", { class: "tiles" }, Object.values(tiles)),
    panel("Latency over time", period, latency),
    h("div", { class: "pair" }, panel("All latencies", h("span", { class: "muted" }, "≤ ms"), spread), panel("Predictions over time", [], predictions)),
    ...Object.entries(parts).map(([key, list]) => panel(`By ${key}`, [], list)),
    panel("Drift", h("span", { class: "muted" }, "population stability index: 0.1 is a change, 0.25 a large one"), drifting,
      h("h3", {}, "Means over the fleet, by the hour"), drifts),
  );

  live(async () => {
    const { body: model } = await ask(api);
    tiles.devices.show(format.count(model.installed_on));
    tiles.predictions.show(format.short(model.predictions));
    tiles.errors.show(format.short(model.errors), "", format.share(model.errors, model.errors + model.predictions));
    for (const quantile of ["p50", "p95", "p99"]) tiles[quantile].show(format.milliseconds(model[`${quantile}_ms`]));
    tiles.drift.show(format.decimal(model.worst_drift, 2), model.worst_drift >= 0.25 ? "warning" : "");
    parts.release.show(model.releases.map((each) => ({ ...each, name: each.release })));
    parts.target.show(model.by_target);
    parts.variant.show(model.by_variant);
    drifting.show(model.drift);
  }, 5000);
  const refreshCharts = live(async () => {
    const query = { since: period.since() };
    const [{ body: points }, { body: bins }, { body: seen }] = await Promise.all([
      ask(`${api}/latency`, { query }), ask(`${api}/histogram`), ask(`${api}/drift`, { query })]);
    drifts.show(columns(seen, "drift_score", "mean_confidence", "accuracy"));
    latency.show(columns(points, "p50_ms", "p95_ms", "p99_ms"));
    predictions.show(columns(points, "predictions", "errors"));
    spread.show([bins.map((bin) => bin.upper_ms), bins.map((bin) => bin.count)]);
  }, 10000);
}

function groups(label) {
  return table(`By ${label.toLowerCase()}`, [
    { label, text: (group) => group.name },
    { label: "Devices", right: true, text: (group) => format.count(group.devices) },
    { label: "Predictions", right: true, text: (group) => format.count(group.predictions) },
    { label: "Errors", right: true, text: (group) => format.share(group.errors, group.errors + group.predictions) },
    { label: "p50", right: true, text: (group) => format.milliseconds(group.p50_ms) },
    { label: "p95", right: true, text: (group) => format.milliseconds(group.p95_ms) },
    { label: "p99", right: true, text: (group) => format.milliseconds(group.p99_ms) },
  ], (group) => group.name, { empty: "Nothing counted yet." });
}

function drift() {
  return table("The devices that drift most", [
    { label: "Device", text: (each) => each.device, cell: (each) => h("a", { href: format.devicePath(each.device) }, each.device) },
    { label: "Release", text: (each) => each.release ?? "–" },
    { label: "Drift", right: true, text: (each) => format.decimal(each.drift_score) },
    { label: "Mean confidence", right: true, text: (each) => format.decimal(each.mean_confidence) },
    { label: "Accuracy", right: true, text: (each) => format.decimal(each.accuracy) },
    { label: "Judged", right: true, text: (each) => format.count(each.feedback_count) },
  ], (each) => each.device, { empty: "No device has observed enough of its inputs yet." });
}
