// REST, as any other client has it.

const trouble = document.getElementById("trouble");

/** What the monitor answered: `body`, and `total` where it is a page of more. Throws its sentence. */
export async function ask(path, options = {}) {
  const { method = "GET", body, signal, query } = options;
  const url = query ? `${path}?${search(query)}` : path;
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  const answer = await fetch(url, { method, signal, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  if (answer.status === 401) location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
  const told = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw new Error(told.detail ?? answer.statusText);
  return { body: told, total: Number(answer.headers.get("X-Total-Count") ?? 0) };
}

/** Parameters without those that are not given. */
function search(query) {
  return new URLSearchParams(Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== ""));
}

/** Call `refresh` now and every so often while the page is seen; gives a function that does it at once. */
export function live(refresh, everyMs = 2000) {
  let timer;
  async function turn() {
    clearTimeout(timer);
    if (document.visibilityState === "visible") {
      try {
        await refresh();
        if (trouble.of === refresh) trouble.hidden = true;
      } catch (error) {
        if (error.name === "AbortError") return;
        trouble.textContent = error instanceof TypeError ? "The monitor does not answer; trying again." : error.message;
        Object.assign(trouble, { hidden: false, of: refresh });
      }
    }
    clearTimeout(timer);
    timer = setTimeout(turn, everyMs);
  }
  document.addEventListener("visibilitychange", turn);
  turn();
  return turn;
}
