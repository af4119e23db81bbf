// The fleet: its counts, a map of its health, and a table of devices, the worst first.

import { ask, live } from "../api.js";
import { h, panel, say, tile } from "../dom.js";
import * as format from "../format.js";
import { healthMap } from "../health-map.js";
import { table } from "../table.js";

const PAGE = 30, MOST_CHIPS = 2;

export function show(content) {
  const address = new URLSearchParams(location.search);
  const wanted = { q: address.get("q") ?? "", condition: address.get("condition") ?? "", model: address.get("model") ?? "",
    target: address.get("target") ?? "", sort: "worst", offset: 0 };
  const tiles = { online: tile("Devices online"), attention: tile("Need attention"), alerts: tile("Alerts firing"),
    predictions: tile("Predictions"), errors: tile("Errors") };
  const map = healthMap();
  const legend = h("div", { class: "choice", role: "group", "aria-label": "Show devices by condition" });
  const list = deviceTable((sort) => change({ sort: wanted.sort === sort ? "worst" : sort }));
  const filter = h("input", { type: "search", placeholder: "Filter: device, target, model, release …   /", value: wanted.q,
    "aria-label": "Filter devices by words", oninput: () => change({ q: filter.value }) });
  const model = select("Model", "any model", (value) => change({ model: value }));
  const target = select("Target", "any target", (value) => change({ target: value }));
  const pager = pages((offset) => { wanted.offset = offset; refreshList(); });
  const total = h("span", { class: "muted", role: "status" });
  content.replaceChildren(
    h("h1", { class: "unseen" }, "Fleet"),
    h("div", { class: "tiles" }, Object.values(tiles)),
    panel("Health", legend, map),
    h("section", { class: "panel", "aria-label": "Devices" }, h("div", { class: "head" }, filter, model, target), list,
      h("div", { class: "pages" }, total, h("span", { class: "space" }), pager)),
  );
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.closest("input, select")) { event.preventDefault(); filter.focus(); }
  });

  function change(part) {
    Object.assign(wanted, part, { offset: 0 });
    const kept = Object.entries(wanted).filter(([name, value]) => value && !["sort", "offset"].includes(name));
    history.replaceState(null, "", kept.length ? `?${new URLSearchParams(kept)}` : location.pathname);
    for (const button of legend.children) button.setAttribute("aria-pressed", String(button.value === wanted.condition));
    refreshList();
  }

  let asked = new AbortController();
  async function refill() {
    asked.abort();
    asked = new AbortController();
    const { body, total: found } = await ask("/api/devices", { query: { ...wanted, limit: PAGE }, signal: asked.signal });
    list.show(body, wanted.sort);
    pager.show(wanted.offset, found);
    say(total, `${format.count(found)} ${found === 1 ? "device" : "devices"}`);
  }
  const refreshList = live(refill);

  live(async () => {
    const { body: fleet } = await ask("/api/overview");
    const { conditions } = fleet;
    const attention = conditions.warning + conditions.bad + conditions.offline;
    tiles.online.show(`${format.count(fleet.online)} of ${format.count(fleet.devices)}`, "", share(fleet.online, fleet.devices));
    tiles.attention.show(format.count(attention), attention ? "warning" : "", `${format.count(conditions.offline)} offline`);
    tiles.alerts.show(format.count(fleet.alerts_firing), fleet.alerts_firing ? "bad" : "");
    tiles.predictions.show(format.short(fleet.predictions), "", fleet.predictions < 1e6 ? "" : format.count(fleet.predictions));
    tiles.errors.show(format.short(fleet.errors), "", format.share(fleet.errors, fleet.errors + fleet.predictions));
    map.show(fleet.map, conditions);
    drawLegend(legend, conditions, wanted, (condition) => change({ condition }));
    options(model, fleet.models, wanted.model);
    options(target, fleet.targets, wanted.target);
    if (!fleet.devices) list.empty(fleet.hint);
    else list.empty("No device is like that.");
  });
}

const share = (part, whole) => (whole ? format.share(part, whole) : "");

function drawLegend(legend, conditions, wanted, choose) {
  if (!legend.children.length)
    legend.append(...format.CONDITIONS.map((name) => h("button", { value: name, "aria-pressed": String(wanted.condition === name),
      onclick: () => choose(wanted.condition === name ? "" : name) }, h("span", { class: `badge ${name}` }))));
  [...legend.children].forEach((button, index) => {
    const name = format.CONDITIONS[index];
    say(button.firstChild, `${format.CONDITION_NAMES[name]} ${format.count(conditions[name])}`);
  });
}

function select(label, any, choose) {
  const box = h("select", { "aria-label": label, onchange: () => choose(box.value) }, h("option", { value: "" }, any));
  return box;
}

/** The choices that there are now, without touching a box that is right already. */
function options(box, names, chosen) {
  box.hidden = names.length < 2 && !chosen;
  if (box.names === names.join("\n")) return;
  box.names = names.join("\n");
  box.replaceChildren(box.firstChild, ...names.map((name) => h("option", { value: name }, name)));
  box.value = chosen;
}

function pages(go) {
  const where = h("span", { class: "muted" });
  const before = h("button", { "aria-label": "Previous page", onclick: () => go(box.offset - PAGE) }, "‹");
  const after = h("button", { "aria-label": "Next page", onclick: () => go(box.offset + PAGE) }, "›");
  const box = h("div", { class: "pages" }, where, before, after);
  box.show = (offset, total) => {
    box.offset = offset;
    box.hidden = total <= PAGE;
    say(where, `${format.count(offset + 1)}–${format.count(Math.min(offset + PAGE, total))}`);
    before.disabled = offset === 0;
    after.disabled = offset + PAGE >= total;
  };
  return box;
}

const sum = (device, what) => device.models.reduce((total, model) => total + model[what], 0);
const shown = (device) => device.models.filter((model) => model.installed || model.predictions || model.errors);
const worst = (device, what) => device.models.reduce((most, model) => Math.max(most, model[what] ?? 0), 0) || null;

function deviceTable(onsort) {
  return table("Devices", [
    { label: "Status", sort: "worst", text: (device) => `${device.condition} ${device.online} ${device.reasons}`,
      cell: (device) => h("span", { class: `badge ${device.condition}`, "data-device": device.id, title: device.reasons.join(", ") || null },
        device.online ? "online" : "offline") },
    { label: "Device", sort: "id", text: (device) => device.id,
      cell: (device) => h("a", { href: format.devicePath(device.id) }, device.id) },
    { label: "Target", extra: true, text: (device) => device.target ?? "–" },
    { label: "Models", minor: true, text: (device) => shown(device).map(describe).join() || "–",
      cell: (device) => shown(device).length ? h("span", {}, chips(shown(device))) : "–" },
    { label: "What is wrong", wide: true, text: (device) => device.reasons.filter((reason) => reason !== "offline").join(", ") },
    { label: "Predictions", right: true, minor: true, sort: "predictions", text: (device) => format.count(sum(device, "predictions")) },
    { label: "Errors", right: true, minor: true, sort: "errors", text: (device) => format.count(sum(device, "errors")) },
    { label: "p95", right: true, text: (device) => format.milliseconds(worst(device, "p95_ms")) },
    { label: "Temperature", right: true, extra: true, sort: "temperature", text: (device) => format.celsius(device.temperature_c) },
    { label: "Last seen", right: true, sort: "seen", text: (device) => format.ago(device.last_seen) },
  ], (device) => device.id, { onsort });
}

const describe = (model) => `${model.name} ${model.installed ? model.release ?? "" : "not installed"} ${model.variant ?? ""}`;

function chip(model) {
  const release = model.installed ? (model.release ?? "").split("-")[0] : "not installed";
  return h("a", { class: "chip", href: format.modelPath(model.name), title: describe(model) }, `${model.name} ${release}`);
}

function chips(models) {
  const more = models.length - MOST_CHIPS;
  return [...models.slice(0, MOST_CHIPS).map(chip), more > 0 && h("span", { class: "muted" }, ` +${more}`)];
}
