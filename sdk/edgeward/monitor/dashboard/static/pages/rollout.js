// One rollout: how far it is, what its gates see, its devices, and what was done.

import { ask, live } from "../api.js";
import { h, panel, say, tile } from "../dom.js";
import * as format from "../format.js";
import { isOver, stateBadge, taken, words } from "../rollout-words.js";
import { table } from "../table.js";

export function show(content, id) {
  const path = `/api/rollouts/${encodeURIComponent(id)}`;
  const title = h("h1", {}, "Rollout");
  const reason = h("p", { class: "muted", role: "status" });
  const tiles = { state: tile("State"), stage: tile("Stage"), devices: tile("Devices that run it"), soak: tile("Soak") };
  const buttons = Object.fromEntries(["pause", "resume", "abort"].map((change) => [change, h("button", { class: "operator", hidden: true, onclick: () => act(change) }, words(change[0].toUpperCase() + change.slice(1)))]));
  const gates = table("What the gates see", [
    { label: "", text: (each) => each.what },
    { label: "Old release", right: true, text: (each) => each.old },
    { label: "New release", right: true, text: (each) => each.new },
    { label: "Gate", right: true, text: (each) => each.gate },
  ], (each) => each.what);
  const devices = table("Devices", [
    { label: "Device", text: (each) => each.device_id, cell: (each) => h("a", { href: format.devicePath(each.device_id) }, each.device_id) },
    { label: "Stage", right: true, text: (each) => each.stage },
    { label: "State", text: (each) => each.state, cell: (each) => stateBadge(each.state) },
    { label: "Runs", text: (each) => `${each.release ?? "–"}${each.online ? "" : " (offline)"}` },
    { label: "Ran before", text: (each) => each.before ?? "–" },
    { label: "Message", wide: true, text: (each) => each.message },
  ], (each) => each.device_id);
  const history = table("History", [
    { label: "When", text: (deed) => format.moment(deed.at) },
    { label: "Who", text: (deed) => deed.who },
    { label: "What", text: (deed) => deed.action },
    { label: "Detail", wide: true, text: (deed) => deed.detail },
  ], (deed) => deed.id);
  content.replaceChildren(title, reason, h("div", { class: "tiles" }, Object.values(tiles)),
    panel("Gates", Object.values(buttons), gates), panel("Devices, as they are reached", [], devices), panel("History", [], history));

  function draw({ rollout, members, history: deeds, ...rest }) {
    document.title = `${rollout.model} ${rollout.version} · edgeward`;
    say(title, `${rollout.model} ${rollout.version} to ${rollout.group}`);
    say(reason, rollout.reason);
    const tone = { done: "ok", failed: "bad", aborted: "bad" }[rollout.state] ?? (rollout.state === "running" ? "" : "warning");
    tiles.state.show(words(rollout.state), tone, `by ${rollout.created_by}, ${format.ago(rollout.created_at)}`);
    tiles.stage.show(`${rollout.stage} of ${rollout.stages.length}`, "", rollout.stages.map((share) => `${Number((share * 100).toFixed(2))} %`).join(", "));
    tiles.devices.show(`${format.count(taken(rollout))} of ${format.count(rollout.devices)}`, "", progress(rollout.progress));
    tiles.soak.show(soak(rollout), "", `${format.span(rest.soak_s)} each stage`);
    buttons.pause.hidden = rollout.state !== "running";
    buttons.resume.hidden = rollout.state !== "paused";
    buttons.abort.hidden = !["running", "paused"].includes(rollout.state);
    gates.show(seen(rest));
    devices.show(members);
    history.show(deeds);
  }

  async function act(change) {
    if (change === "abort" && !confirm("Bring every device that has the release back to what it ran before?")) return;
    draw((await ask(`${path}/${change}`, { method: "POST" })).body);
  }
  live(async () => draw((await ask(path)).body), 1000);
}

const progress = (states) => Object.entries(states).map(([state, number]) => `${number} ${words(state)}`).join(", ");

function soak(rollout) {
  if (isOver(rollout) || rollout.soaked_at === null) return "–";
  const left = rollout.soaked_at - Date.now() / 1000;
  return left > 0 ? `${format.span(left)} left` : "over";
}

function seen({ judged, gates, samples }) {
  const ratio = judged.old_p95_ms && judged.new_p95_ms ? ` (${(judged.new_p95_ms / judged.old_p95_ms).toFixed(2)})` : "";
  return [
    { what: "Calls", old: format.count(judged.old_calls), new: format.count(judged.new_calls), gate: `at least ${format.count(samples)}` },
    { what: "p95", old: format.milliseconds(judged.old_p95_ms), new: format.milliseconds(judged.new_p95_ms) + ratio, gate: gates.p95 === null ? "–" : `at most ${gates.p95} of the old` },
    { what: "Errors", old: format.share(judged.old_errors, judged.old_calls), new: format.share(judged.new_errors, judged.new_calls), gate: gates.errors === null ? "–" : `at most ${format.share(gates.errors, 1)} more` },
    { what: "Drift", old: "", new: format.decimal(judged.drift), gate: gates.drift === null ? "–" : `at most ${gates.drift}` },
  ];
}
