// One device: what it is, how it is, its models, what happened there, and what can be asked of it.

import { ask, live } from "../api.js";
import { bars, histogram, lines } from "../charts.js";
import { h, panel, say, tile } from "../dom.js";
import * as format from "../format.js";
import { columns, timeWindow } from "../windows.js";
import { actions } from "./device-actions.js";
import { timeline } from "./device-timeline.js";

export function show(content, fleet, device) {
  const id = `${fleet}/${device}`, api = format.devicesApi(id);
  document.title = `${id} · edgeward`;
  const condition = h("span", { class: "badge" });
  const reasons = h("span", { class: "muted" });
  const facts = h("p", { class: "muted" });
  const tiles = h("div", { class: "tiles" });
  const figures = healthTiles(tiles);
  const models = h("div", { class: "models" });
  const cards = new Map();
  const period = timeWindow(() => refreshCharts());
  const health = lines("Health over time", "", [["CPU", "accent", "%"], ["memory", "muted", "%"], ["temperature", "bad", "°C"]]);
  const happened = timeline(id);
  const acting = actions(id);
  content.replaceChildren(
    h("div", { class: "title" }, h("h1", {}, id), condition, reasons, h("span", { class: "space" }), period),
    facts, tiles, models, panel("Health over time", [], health), acting, panel("Timeline and log", happened.choices, happened),
  );

  live(async () => {
    const { body } = await ask(api);
    condition.className = `badge ${body.condition}`;
    say(condition, body.online ? "online" : "offline");
    say(reasons, body.reasons.filter((reason) => reason !== "offline").join(", "));
    say(facts, [body.target, body.architecture, body.python_version && `Python ${body.python_version}`,
      body.edgeward_version && `edgeward ${body.edgeward_version}`, body.uptime_s && `up ${format.span(body.uptime_s)}`]
      .filter(Boolean).join(" · "));
    figures(body);
    for (const model of body.models) {
      if (!cards.has(model.name)) {
        cards.set(model.name, card(model.name));
        models.append(cards.get(model.name));
        refreshCharts();
      }
      cards.get(model.name).tell(model);
    }
    acting.show(body);
  });
  const refreshCharts = live(async () => {
    const since = period.since();
    const { body: points } = await ask(`${api}/health`, { query: { since } });
    health.show(columns(points, "cpu_percent", "memory_used_percent", "temperature_c"));
    await Promise.all([...cards].map(([name, each]) => each.refresh(api, name, since)));
  }, 10000);
  live(happened.refresh, 5000);
}

function healthTiles(row) {
  const kinds = [
    ["Last seen", (device) => format.ago(device.last_seen)],
    ["CPU", (device) => format.percent(device.cpu_percent)],
    ["Memory", (device) => format.percent(device.memory_used_percent)],
    ["Disk", (device) => format.percent(device.disk_used_percent)],
    ["Temperature", (device) => format.celsius(device.temperature_c)],
    ["Throttled", (device) => (device.throttled == null ? null : device.throttled ? "yes" : "no")],
    ["GPU", (device) => (device.gpu_percent == null ? null : format.percent(device.gpu_percent))],
    ["Power", (device) => (device.power_w == null ? null : `${format.decimal(device.power_w, 1)} W`)],
    ["Energy per prediction", (device) => (device.energy_per_prediction_j == null ? null : `${format.decimal(device.energy_per_prediction_j)} J`)],
    ["Clock ahead by", (device) => (Math.abs(device.clock_skew_s ?? 0) < 0.5 ? null : `${format.decimal(device.clock_skew_s, 1)} s`)],
  ].map(([title, text]) => ({ box: tile(title), text }));
  row.append(...kinds.map(({ box }) => box));
  return (device) => {
    for (const { box, text } of kinds) {
      const shown = text(device);
      box.hidden = shown === null;
      if (shown !== null) box.show(shown);
    }
  };
}

function card(name) {
  const release = h("span", { class: "muted" }), figures = h("span"), observed = h("p", { class: "muted" });
  const warning = h("p", { class: "warning" });
  const latency = lines(`Latency of ${name}`, "ms", [["p50", "accent"], ["p95", "warning"], ["p99", "bad"]]);
  const spread = histogram(`All latencies of ${name}`);
  const predictions = bars(`Predictions of ${name}`, "", [["predictions", "accent"], ["errors", "bad"]]);
  const box = panel("", [], warning, observed, h("div", { class: "pair" },
    h("div", {}, h("h3", {}, "Latency over time, ms"), latency), h("div", {}, h("h3", {}, "All latencies, ≤ ms"), spread)),
  h("h3", {}, "Predictions over time"), predictions);
  box.querySelector(".head").replaceChildren(h("h2", {}, h("a", { href: format.modelPath(name) }, name)), release, h("span", { class: "space" }), figures);
  box.tell = (model) => {
    const running = [model.release, model.variant, model.runs_on && `on ${model.runs_on}`].filter(Boolean).join(" · ");
    say(release, model.installed ? running : "not installed");
    const quantiles = ["p50", "p95", "p99"].map((each) => `${each} ${format.milliseconds(model[`${each}_ms`])}`);
    say(figures, [`${format.count(model.predictions)} predictions`, `${format.count(model.errors)} errors`, ...quantiles].join(" · "));
    say(warning, model.installed ? model.warning ?? "" : "");
    say(observed, [
      model.drift_score != null && `drift ${format.decimal(model.drift_score)}`,
      model.mean_confidence != null && `mean confidence ${format.decimal(model.mean_confidence)}`,
      model.accuracy != null && `accuracy ${format.decimal(model.accuracy)} of ${format.count(model.feedback_count)} judged`,
    ].filter(Boolean).join(" · "));
  };
  box.refresh = async (api, model, since) => {
    const [{ body: points }, { body: bins }] = await Promise.all([
      ask(`${api}/latency`, { query: { model, since } }), ask(`${api}/histogram`, { query: { model } })]);
    latency.show(columns(points, "p50_ms", "p95_ms", "p99_ms"));
    predictions.show(columns(points, "predictions", "errors"));
    spread.show([bins.map((bin) => bin.upper_ms), bins.map((bin) => bin.count)]);
  };
  return box;
}
