// Every model of the fleet.

import { ask, live } from "../api.js";
import { h, panel } from "../dom.js";
import * as format from "../format.js";
import { table } from "../table.js";

export function show(content) {
  const list = table("Models", [
    { label: "Model", text: (model) => model.name, cell: (model) => h("a", { href: format.modelPath(model.name) }, model.name) },
    { label: "Devices", right: true, text: (model) => format.count(model.installed_on) },
    { label: "Releases", right: true, text: (model) => format.count(model.releases) },
    { label: "Predictions", right: true, text: (model) => format.count(model.predictions) },
    { label: "Errors", right: true, text: (model) => format.share(model.errors, model.errors + model.predictions) },
    { label: "p50", right: true, text: (model) => format.milliseconds(model.p50_ms) },
    { label: "p95", right: true, text: (model) => format.milliseconds(model.p95_ms) },
    { label: "p99", right: true, text: (model) => format.milliseconds(model.p99_ms) },
    { label: "Worst drift", right: true, text: (model) => format.decimal(model.worst_drift, 2) },
  ], (model) => model.name, { empty: "No device has reported a model yet." });
  content.replaceChildren(h("h1", {}, "Models"), panel("Over the whole fleet", [], list));
  live(async () => list.show((await ask("/api/models")).body), 5000);
}
