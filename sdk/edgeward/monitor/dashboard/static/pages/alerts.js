// Alerts, and the silences that hold.

import { ask, live } from "../api.js";
import { choice, h, panel } from "../dom.js";
import * as format from "../format.js";
import { table } from "../table.js";

const STATES = [["", "all"], ["firing", "firing"], ["pending", "pending"], ["resolved", "resolved"]];
const TONES = { critical: "bad", warning: "warning", info: "ok" };

export function show(content) {
  let state = "";
  const list = table("Alerts", [
    { label: "State", text: (alert) => `${alert.state} ${alert.severity} ${alert.silenced}`, cell: stateOf },
    { label: "Rule", text: (alert) => alert.rule },
    { label: "About", text: about, cell: (alert) => link(alert) },
    { label: "What", wide: true, text: (alert) => alert.message },
    { label: "Since", right: true, text: (alert) => format.ago(alert.since) },
    { label: "Resolved", right: true, text: (alert) => (alert.resolved_at ? format.ago(alert.resolved_at) : "–") },
    { label: "", right: true, text: (alert) => alert.id, cell: (alert) => h("button", { class: "operator", "aria-label": `Silence ${alert.rule} of ${about(alert)} for 8 hours`,
      onclick: () => silence(alert) }, "Silence 8 h") },
  ], (alert) => alert.id, { empty: "Nothing is wrong, as far as the rules see." });
  const silences = table("Silences", [
    { label: "Matches", text: (each) => each.match },
    { label: "Rule", text: (each) => each.rule },
    { label: "Reason", wide: true, text: (each) => each.reason },
    { label: "By", text: (each) => each.created_by },
    { label: "Until", right: true, text: (each) => format.moment(each.until) },
    { label: "", right: true, text: (each) => each.id, cell: (each) => h("button", { class: "operator", onclick: () => end(each) }, "End") },
  ], (each) => each.id, { empty: "No silence holds." });
  content.replaceChildren(h("h1", {}, "Alerts"),
    panel("Alerts", choice("Show alerts that are", STATES, state, (value) => { state = value; refresh(); }), list),
    panel("Silences", [], silences));

  const refresh = live(async () => {
    const [{ body: alerts }, { body: holding }] = await Promise.all([
      ask("/api/alerts", { query: { state, limit: 200 } }), ask("/api/silences")]);
    list.show(alerts);
    silences.show(holding);
  });
  async function silence(alert) {
    await ask("/api/silences", { method: "POST", body: { match: about(alert), rule: alert.rule, for_s: 8 * 3600, reason: alert.message } });
    refresh();
  }
  async function end(each) {
    await ask(`/api/silences/${each.id}`, { method: "DELETE" });
    refresh();
  }
}

const about = (alert) => [alert.fleet, alert.device, alert.model].filter(Boolean).join("/") || "the monitor";

function link(alert) {
  if (!alert.device) return about(alert);
  return h("a", { href: format.devicePath(`${alert.fleet}/${alert.device}`) }, about(alert));
}

function stateOf(alert) {
  const tone = alert.state === "firing" ? TONES[alert.severity] : alert.state === "pending" ? "warning" : "offline";
  return h("span", { class: `badge ${tone}` }, `${alert.state}${alert.silenced ? ", silenced" : ""}`);
}
