// How rollouts are written on every page.

import { h } from "./dom.js";

const TONES = { done: "ok", installed: "ok", present: "ok", failed: "bad", aborted: "bad", refused: "bad", stuck: "bad",
  rolling_back: "warning", returning: "warning", overdue: "warning", paused: "warning" };

export const rolloutPath = (id) => `/rollouts/${encodeURIComponent(id)}`;
export const words = (state) => state.replaceAll("_", " ");
export const stateBadge = (state) => h("span", { class: `badge ${TONES[state] ?? "offline"}` }, words(state));
export const taken = (each) => (each.progress.installed ?? 0) + (each.progress.present ?? 0);
export const isOver = (each) => ["done", "failed", "aborted"].includes(each.state);

/** The stage, as long as there is one, and how many devices have the release. */
export function howFar(each) {
  const devices = `${taken(each)} of ${each.devices} devices`;
  return isOver(each) ? devices : `stage ${each.stage} of ${each.stages.length}, ${devices}`;
}
