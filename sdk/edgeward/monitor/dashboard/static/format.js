// How numbers and times are written.

const THREE = { maximumSignificantDigits: 3 };
export const CONDITIONS = ["ok", "warning", "bad", "offline"];
export const CONDITION_NAMES = { ok: "fine", warning: "warning", bad: "failing", offline: "offline" };

export const count = (value) => (value ?? 0).toLocaleString("en-US");
export const milliseconds = (value) => (value == null ? "–" : `${value.toLocaleString("en-US", THREE)} ms`);
export const celsius = (value) => (value == null ? "–" : `${Math.round(value)} °C`);
export const percent = (value) => (value == null ? "–" : `${Math.round(value)} %`);
export const decimal = (value, digits = 3) => (value == null ? "–" : value.toFixed(digits));

/** A share as per cent, fine enough for small ones. */
export function share(part, whole) {
  if (!whole || !part) return whole ? "0 %" : "–";
  return `${((100 * part) / whole).toLocaleString("en-US", { maximumSignificantDigits: 2 })} %`;
}

/** 1,234,567 as 1.23 M where room is scarce. */
export function short(value) {
  return value < 1e6 ? count(value) : value.toLocaleString("en-US", { notation: "compact", ...THREE });
}

/** A span of seconds in the largest unit that fits. */
export function span(seconds) {
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]])
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  return `${Math.max(0, Math.floor(seconds))} s`;
}

/** How long ago a Unix time was. */
export function ago(at) {
  const seconds = Date.now() / 1000 - at;
  return seconds < 3 ? "now" : `${span(seconds)} ago`;
}

/** A Unix time on this person's clock. */
export function moment(at) {
  return new Date(at * 1000).toLocaleString("sv-SE");
}

/** The path of a device's page: its id is `fleet/device`, of any characters. */
export const devicePath = (id) => `/devices/${id.split("/").map(encodeURIComponent).join("/")}`;
export const modelPath = (name) => `/models/${encodeURIComponent(name)}`;
export const devicesApi = (id) => `/api${devicePath(id)}`;
