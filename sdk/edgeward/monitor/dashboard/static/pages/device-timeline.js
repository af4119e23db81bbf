// What happened to a device: its log, its alerts, what was asked of it and what was done to it, the latest first.

import { ask } from "../api.js";
import { choice, h, keyed, say } from "../dom.js";
import { devicesApi, moment } from "../format.js";

const MOST = 200;
const KINDS = [["all", "all"], ["log", "log"], ["alert", "alerts"], ["request", "requests"], ["audit", "audit"]];

export function timeline(id) {
  let kind = "all", events = [];
  const list = h("ul", { class: "events", tabindex: "0", "aria-label": "Timeline and log" });
  const nothing = h("p", { class: "muted nothing" }, "Nothing has happened yet.");
  const box = h("div", {}, nothing, list);
  box.choices = choice("Show", KINDS, kind, (value) => { kind = value; draw(); });

  function draw() {
    const shown = events.filter((event) => kind === "all" || event.kind === kind).slice(0, MOST);
    nothing.hidden = shown.length > 0;
    keyed(list, shown, (event) => event.key, () => h("li", {}, h("time", { class: "muted" }), h("span"), h("span")), (line, event) => {
      const [time, what, text] = line.children;
      say(time, moment(event.at));
      say(what, event.what);
      what.className = event.tone ?? "muted";
      say(text, event.text);
    });
  }

  box.refresh = async () => {
    const [logs, alerts, requests, deeds] = await Promise.all([
      ask(`${devicesApi(id)}/logs`, { query: { limit: MOST } }),
      ask("/api/alerts", { query: { device_id: id, limit: MOST } }),
      ask("/api/requests", { query: { device_id: id, limit: MOST } }),
      ask("/api/audit", { query: { subject: id, limit: MOST } }),
    ]);
    events = [...logs.body.map(ofLog), ...alerts.body.flatMap(ofAlert), ...requests.body.flatMap(ofRequest), ...deeds.body.map(ofDeed)]
      .sort((one, other) => other.at - one.at || (one.key < other.key ? 1 : -1));
    draw();
  };
  return box;
}

const LOG_TONES = { WARNING: "warning", ERROR: "bad", CRITICAL: "bad" };

const ofLog = (line) => ({ key: `log ${line.id}`, kind: "log", at: line.at, what: line.level.toLowerCase(), tone: LOG_TONES[line.level],
  text: `${line.logger}: ${line.text}` });

const ofDeed = (deed) => ({ key: `audit ${deed.id}`, kind: "audit", at: deed.at, what: "audit", text: `${deed.who}: ${deed.action} ${deed.detail}` });

function ofAlert(alert) {
  const event = (at, what, tone) => ({ key: `alert ${alert.id} ${what}`, kind: "alert", at, what, tone, text: `${alert.rule}: ${alert.message}` });
  const fired = alert.fired_at ? [event(alert.fired_at, "alert", alert.severity === "critical" ? "bad" : "warning")] : [];
  return alert.resolved_at ? [...fired, event(alert.resolved_at, "resolved", "ok")] : fired;
}

function ofRequest(request) {
  const asked = { key: `asked ${request.id}`, kind: "request", at: request.asked_at, what: "request",
    text: `${request.command} ${Object.keys(request.arguments).length ? JSON.stringify(request.arguments) : ""} asked by ${request.asked_by}` };
  if (request.answered_at === null) return [{ ...asked, text: `${asked.text}: ${request.sent_at ? "sent, no answer yet" : "waits until the device is online"}` }];
  return [asked, { key: `answered ${request.id}`, kind: "request", at: request.answered_at, what: request.ok ? "done" : "failed",
    tone: request.ok ? "ok" : "bad", text: `${request.command}: ${request.message}` }];
}
