// Signing in: the token becomes a cookie that scripts cannot read.

const refused = document.getElementById("refused");

document.getElementById("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = document.getElementById("token").value.trim();
  const answer = await fetch("/api/session", { method: "POST", headers: { Authorization: `Bearer ${token}` } });
  if (answer.ok) {
    const next = new URL(new URLSearchParams(location.search).get("next") ?? "/", location.origin);
    location.assign(next.origin === location.origin ? next : "/");
    return;
  }
  refused.textContent = (await answer.json()).detail;
  refused.hidden = false;
});
