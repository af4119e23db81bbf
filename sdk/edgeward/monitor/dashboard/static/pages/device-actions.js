// What an operator can ask of a device. What comes of it is in the timeline.

import { ask } from "../api.js";
import { h, panel, say } from "../dom.js";

export function actions(id) {
  const model = h("select", { "aria-label": "Model to roll back" });
  const said = h("p", { class: "muted", role: "status" });
  const answer = h("pre", { hidden: true, tabindex: "0", "aria-label": "Answer" });
  const rollback = h("button", { onclick: () => confirm(`Roll ${model.value} back to its previous release on ${id}?`) && send("rollback", { name: model.value }) }, "Roll back");
  const silence = h("select", { "aria-label": "How long to silence its alerts" },
    [["3600", "1 hour"], ["28800", "8 hours"], ["86400", "1 day"], ["604800", "1 week"]].map(([value, text]) => h("option", { value }, text)));
  const box = panel("Actions", said,
    h("div", { class: "row" },
      h("button", { onclick: () => send("collect_logs", {}) }, "Collect logs"),
      h("span", { class: "group" }, model, rollback),
      h("span", { class: "group" }, silence, h("button", { onclick: () => hush(Number(silence.value)) }, "Silence alerts"))),
    answer);
  box.classList.add("operator");

  async function attempt(what, act) {
    try {
      say(said, what);
      say(said, await act());
    } catch (error) {
      say(said, error.message);
    }
  }

  const send = (command, args) => attempt(`asking for ${command} …`, async () => {
    const { body } = await ask("/api/requests", { method: "POST", body: { device_id: id, command, arguments: args } });
    return follow(command, body.id);
  });

  const hush = (seconds) => attempt("silencing …", async () => {
    await ask("/api/silences", { method: "POST", body: { match: id, for_s: seconds, reason: "from the device's page" } });
    return "Its alerts tell nobody for that long.";
  });

  /** Wait for the answer for a while; what is a text is shown here. */
  async function follow(command, request) {
    for (let turn = 0; turn < 30; turn++) {
      const { body } = await ask(`/api/requests/${request}`);
      if (body.answered_at !== null) {
        if (body.ok && command === "collect_logs") await reveal(request);
        return body.ok ? `${command}: done. ${body.message}` : `${command} failed: ${body.message}`;
      }
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
    return `${command}: the device has not answered yet; see the timeline.`;
  }

  async function reveal(request) {
    const content = await fetch(`/api/requests/${request}/content`);
    say(answer, content.ok ? await content.text() : "");
    answer.hidden = !answer.textContent;
  }

  box.show = (device) => {
    const names = device.models.filter((each) => each.installed).map((each) => each.name);
    model.parentElement.hidden = names.length === 0;
    if (model.names === names.join("\n")) return;
    model.names = names.join("\n");
    model.replaceChildren(...names.map((name) => h("option", { value: name }, name)));
  };
  return box;
}
