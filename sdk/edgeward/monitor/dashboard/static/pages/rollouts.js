// Releases on their way through the fleet, the latest first, and what groups should run.

import { ask, live } from "../api.js";
import { h, panel } from "../dom.js";
import * as format from "../format.js";
import { howFar, rolloutPath, stateBadge } from "../rollout-words.js";
import { table } from "../table.js";

export function show(content) {
  const list = table("Rollouts", [
    { label: "Release", text: (each) => `${each.model} ${each.version}`, cell: (each) => h("a", { href: rolloutPath(each.id) }, `${each.model} ${each.version}`) },
    { label: "State", text: (each) => each.state, cell: (each) => stateBadge(each.state) },
    { label: "Group", text: (each) => each.group },
    { label: "How far", text: howFar },
    { label: "Why", wide: true, text: (each) => each.reason },
    { label: "By", minor: true, text: (each) => each.created_by },
    { label: "Begun", right: true, text: (each) => format.ago(each.created_at) },
  ], (each) => each.id, { empty: "No rollout has begun yet: edgeward fleet rollout NAME VERSION --group GROUP" });
  const desired = table("Desired releases", [
    { label: "Group", text: (each) => each.group },
    { label: "Model", text: (each) => each.model, cell: (each) => h("a", { href: format.modelPath(each.model) }, each.model) },
    { label: "Should run", wide: true, text: (each) => each.version },
    { label: "By", minor: true, text: (each) => each.set_by },
    { label: "Since", right: true, text: (each) => format.ago(each.set_at) },
  ], (each) => `${each.group}\n${each.model}`, { empty: "No group should run anything; a rollout that is done says what its group should run." });
  content.replaceChildren(h("h1", {}, "Rollouts"),
    panel("Releases on their way through the fleet", [], list), panel("What groups should run", [], desired));

  live(async () => {
    const [{ body: rollouts }, { body: wanted }] = await Promise.all([ask("/api/rollouts"), ask("/api/desired")]);
    list.show(rollouts);
    desired.show(wanted);
  });
}
