// Over which time a page looks back.

import { choice } from "./dom.js";

const WINDOWS = [[3600, "1 h"], [21600, "6 h"], [86400, "24 h"], [604800, "7 d"], [2592000, "30 d"]];

/** A row of buttons; `since()` gives where the chosen window begins, in Unix seconds. */
export function timeWindow(changed) {
  let chosen = 21600;
  const box = choice("Time window", WINDOWS, chosen, (seconds) => { chosen = seconds; changed(); });
  box.since = () => Math.floor(Date.now() / 1000 - chosen);
  return box;
}

/** Points as the columns that charts take; readings come as means by name. */
export const columns = (points, ...names) => [points.map((point) => point.start), ...names.map((name) =>
  points.map((point) => (point.mean ?? point)[name]))];
