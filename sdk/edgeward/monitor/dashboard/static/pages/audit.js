// Who did what.

import { ask, live } from "../api.js";
import { h, panel } from "../dom.js";
import * as format from "../format.js";
import { table } from "../table.js";

const PAGE = 100;

export function show(content) {
  let older = [];
  const list = table("Audit", [
    { label: "When", text: (deed) => format.moment(deed.at) },
    { label: "Who", text: (deed) => deed.who },
    { label: "What", text: (deed) => deed.action },
    { label: "To what", text: (deed) => deed.subject },
    { label: "Detail", wide: true, text: (deed) => deed.detail },
  ], (deed) => deed.id, { empty: "Nobody has done anything yet." });
  const more = h("button", { hidden: true, onclick: async () => {
    const { body } = await ask("/api/audit", { query: { before: (older.at(-1) ?? latest.at(-1)).id, limit: PAGE } });
    older = [...older, ...body];
    draw(body.length === PAGE);
  } }, "Earlier");
  content.replaceChildren(h("h1", {}, "Audit"), panel("Everything that operators and admins did", [], list, more));
  let latest = [];

  function draw(hasMore) {
    const first = older[0]?.id ?? -Infinity;
    list.show([...latest.filter((deed) => deed.id > first), ...older]);
    more.hidden = !hasMore;
  }
  live(async () => {
    latest = (await ask("/api/audit", { query: { limit: PAGE } })).body;
    if (!older.length) draw(latest.length === PAGE);
  }, 5000);
}
