// The frame of every page, and which page it is.

import { ask, live } from "./api.js";
import { say } from "./dom.js";
import { count } from "./format.js";

const PAGES = [
  [/^\/$/, "fleet"],
  [/^\/devices\/([^/]+)\/([^/]+)$/, "device"],
  [/^\/models$/, "models"],
  [/^\/models\/([^/]+)$/, "model"],
  [/^\/rollouts$/, "rollouts"],
  [/^\/rollouts\/([^/]+)$/, "rollout"],
  [/^\/alerts$/, "alerts"],
  [/^\/audit$/, "audit"],
];

const content = document.getElementById("content");

async function open() {
  for (const [pattern, name] of PAGES) {
    const found = location.pathname.match(pattern);
    if (!found) continue;
    const page = await import(`./pages/${name}.js`);
    page.show(content, ...found.slice(1).map(decodeURIComponent));
    return;
  }
  content.textContent = "There is no such page.";
}

function mark() {
  const here = `/${location.pathname.split("/")[1]}`.replace("/devices", "/");
  for (const link of document.querySelectorAll("nav a"))
    if (link.getAttribute("href") === here) link.setAttribute("aria-current", "page");
}

function schemeButton() {
  const button = document.getElementById("scheme");
  const dark = () => {
    const chosen = localStorage.getItem("scheme");
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const draw = () => { button.textContent = dark() ? "☀" : "☾"; };
  button.addEventListener("click", () => {
    localStorage.setItem("scheme", dark() ? "light" : "dark");
    document.documentElement.style.colorScheme = localStorage.getItem("scheme");
    draw();
    document.dispatchEvent(new Event("schemechange"));
  });
  draw();
}

async function session() {
  const { body } = await ask("/api/session");
  document.body.dataset.role = body.role;
  if (!body.signed_in) return;
  say(document.getElementById("caller"), `${body.name} (${body.role})`);
  const out = document.getElementById("sign-out");
  out.hidden = false;
  out.addEventListener("click", async () => {
    await ask("/api/session", { method: "DELETE" });
    location.assign("/login");
  });
}

async function firing() {
  const { total } = await ask("/api/alerts", { query: { state: "firing", limit: 1 } });
  const badge = document.getElementById("firing");
  badge.hidden = total === 0;
  badge.setAttribute("aria-label", `${total} firing`);
  say(badge, count(total));
}

schemeButton();
mark();
open();
session();
live(firing, 5000);
