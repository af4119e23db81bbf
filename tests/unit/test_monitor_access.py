"""Who gets in: the machine's own user until there are tokens, then who has one, as far as the role goes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, update
from typer.testing import CliRunner, Result

from edgeward.cli import tokens as commands
from edgeward.monitor import dashboard, database, store
from edgeward.monitor.access import audit, exposure, tables, tokens
from edgeward.monitor.access.callers import ROLES, Caller
from edgeward.monitor.access.failures import Failures
from edgeward.monitor.access.guard import Guard
from edgeward.monitor.api import make_app
from edgeward.monitor.config import HttpConfig
from edgeward.monitor.updates import NodeSeen
from edgeward_runtimes.errors import ConfigError

_HERE = "http://127.0.0.1:8080"
_PUBLIC = {"/healthz"}
Visit = Callable[..., TestClient]


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = database.open_engine(f"sqlite:///{tmp_path / 'monitor.db'}")
    store.apply(engine, [NodeSeen("f", "d", 60.0, True, {})])
    return engine


@pytest.fixture
def visit(engine: Engine) -> Visit:
    """A visitor of a monitor that listens on `host`, who asks for `base_url` and may have a token."""

    app = make_app(engine, {})
    dashboard.mount(app)

    def client(token: str | None = None, base_url: str = _HERE, now: list[float] | None = None, **http) -> TestClient:
        guarded = Guard(app, engine, HttpConfig(**http), clock=lambda: now[0] if now else 0.0)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return TestClient(guarded, base_url=base_url, headers=headers, follow_redirects=False)

    return client


def test_a_monitor_on_loopback_is_open_until_the_first_token_is_made(engine: Engine, visit: Visit) -> None:
    assert visit().get("/api/devices").status_code == 200
    assert visit().get("/api/session").json() == {"name": "local", "role": "admin", "signed_in": False}
    token = tokens.create(engine, "ada", "viewer", by="test")
    answer = visit().get("/api/devices")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["detail"] == "This needs a token: Authorization: Bearer TOKEN."
    assert visit(token).get("/api/devices").status_code == 200
    tokens.revoke(engine, "ada", by="test")
    assert visit(token).get("/api/devices").status_code == 401
    assert visit().get("/api/devices").status_code == 401, "revoking the last token opens nothing"


def test_every_route_asks_for_a_token(engine: Engine, visit: Visit) -> None:
    tokens.create(engine, "ada", "viewer", by="test")
    client = visit()
    routes = [(path, method) for path, methods in make_app(engine, {}).openapi()["paths"].items() for method in methods]
    assert len(routes) > 25
    for path, method in [*routes, ("/openapi.json", "get"), ("/metrics", "get"), ("/", "get"), ("/nowhere", "get")]:
        status = client.request(method, path.replace("{", "").replace("}", "")).status_code
        assert status == (200 if path in _PUBLIC else 401), f"{method} {path}"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.168.1.7", "[::1", ""])
def test_without_a_token_only_this_machines_own_names_are_answered(host: str, engine: Engine, visit: Visit) -> None:
    for name in ("localhost", "127.0.0.1:99", "[::1]:8080"):
        assert visit().get("/api/devices", headers={"Host": name}).status_code == 200
    assert visit().get("/api/devices", headers={"Host": host}).status_code == 401
    token = tokens.create(engine, "ada", "viewer", by="test")
    assert visit(token).get("/api/devices", headers={"Host": host}).status_code == 200


def test_a_store_that_fails_lets_nobody_in(engine: Engine, visit: Visit) -> None:
    client = visit()
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE tokens")
    answer = client.get("/api/audit")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")


def test_what_a_page_of_another_origin_sends_is_not_done(engine: Engine, visit: Visit) -> None:
    asked = {"device_id": "f/d", "command": "collect_logs"}
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        assert visit().post("/api/requests", json=asked, headers=headers).status_code == 403
    assert visit().get("/api/requests").json() == []
    for headers in ({}, {"Origin": _HERE}, {"Sec-Fetch-Site": "same-origin"}):
        assert visit().post("/api/requests", json=asked, headers=headers).status_code == 202
    assert len(visit().get("/api/requests").json()) == 3


@pytest.mark.parametrize(
    ("method", "path", "body", "least"),
    [
        ("GET", "/api/devices", None, "viewer"),
        ("GET", "/api/audit", None, "viewer"),
        ("GET", "/metrics", None, "viewer"),
        ("POST", "/api/requests", {"device_id": "f/d", "command": "collect_logs"}, "operator"),
        ("POST", "/api/silences", {"match": "f/d", "for_s": 60}, "operator"),
        ("GET", "/api/tokens", None, "admin"),
        ("POST", "/api/tokens", {"name": "new", "role": "viewer"}, "admin"),
    ],
)
def test_a_role_may_do_what_it_is_for_and_no_more(method, path, body, least, engine: Engine, visit: Visit) -> None:
    for role in ROLES:
        token = tokens.create(engine, role, role, by="test")
        status = visit(token).request(method, path, json=body).status_code
        assert (status < 300) == (ROLES.index(role) >= ROLES.index(least)), f"{role}: {status}"
        assert status < 300 or status == 403


def test_a_token_that_has_expired_opens_nothing(engine: Engine, visit: Visit) -> None:
    token = tokens.create(engine, "ada", "viewer", by="test", lifetime_s=3600)
    assert visit(token).get("/api/devices").status_code == 200
    with engine.begin() as connection:
        connection.execute(update(tables.tokens).values(expires_at=1.0))
    assert visit(token).get("/api/devices").status_code == 401
    assert not tokens.any_valid(engine)


def test_who_reads_the_store_finds_no_token(engine: Engine, tmp_path: Path) -> None:
    token = tokens.create(engine, "ada", "admin", by="test")
    engine.dispose()
    written = b"".join(file.read_bytes() for file in tmp_path.glob("monitor.db*"))
    assert token.split("_")[1].encode() in written
    assert token.split("_", 2)[2].encode() not in written


@pytest.mark.parametrize("name", ["", "a b", "-a", "a/b", "ä", "a" * 65])
def test_a_name_that_would_be_hard_to_read_in_the_audit_is_refused(name: str, engine: Engine) -> None:
    with pytest.raises(ConfigError, match="cannot name a token"):
        tokens.create(engine, name, "viewer", by="test")


def test_a_name_is_used_once_for_all_times(engine: Engine) -> None:
    tokens.create(engine, "ada", "viewer", by="test")
    tokens.revoke(engine, "ada", by="test")
    with pytest.raises(ConfigError, match="names are used once"):
        tokens.create(engine, "ada", "admin", by="test")
    assert not tokens.revoke(engine, "ada", by="test"), "it was of no use already"


@given(st.text(max_size=80))
def test_no_invented_token_is_recognized(engine: Engine, text: str) -> None:
    for presented in (text, f"edgeward_{'0' * 12}_{text}"):
        assert tokens.recognize(engine, presented) is None


def test_a_token_with_another_secret_is_not_recognized(engine: Engine) -> None:
    token = tokens.create(engine, "ada", "admin", by="test")
    assert tokens.recognize(engine, token) == Caller("ada", "admin")
    other = token[:-1] + ("A" if token[-1] != "A" else "B")
    assert tokens.recognize(engine, other) is None


def test_who_is_wrong_too_often_has_to_wait_even_with_the_right_token(engine: Engine, visit: Visit) -> None:
    token, now = tokens.create(engine, "ada", "viewer", by="test"), [1000.0]
    client = visit(now=now)

    def status(presented: str) -> int:
        return client.get("/api/devices", headers={"Authorization": f"Bearer {presented}"}).status_code

    assert [status("wrong") for _ in range(12)] == [401] * 10 + [429] * 2
    assert status(token) == 429
    answer = client.get("/api/devices", headers={"Authorization": "Bearer wrong"})
    now[0] += float(answer.headers["retry-after"])
    assert status(token) == 200


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 100)), max_size=60))
def test_failures_never_allow_more_than_the_burst_and_what_has_refilled(tries) -> None:
    failures, now, allowed = Failures(burst=3, refill_s=10), 0.0, {"a": 0, "b": 0}
    for address, later in tries:
        now += later
        if failures.wait_s(address, now) == 0:
            failures.record(address, now)
            allowed[address] += 1
        assert allowed[address] <= 3 + now / 10 + 1e-6


def test_a_browser_signs_in_with_a_cookie_that_scripts_and_other_sites_do_not_get(engine: Engine, visit: Visit) -> None:
    token = tokens.create(engine, "ada", "operator", by="test")
    for base_url, name in ((_HERE, "edgeward"), ("https://monitor.example", "__Host-edgeward")):
        http = {"certificate": "x", "key": "y"} if base_url.startswith("https") else {}
        browser = visit(base_url=base_url, **http)
        page = browser.get("/devices/f/d", headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/login?next=/devices/f/d")
        assert browser.get("/login").status_code == 200
        assert browser.post("/api/session", headers={"Authorization": "Bearer wrong"}).status_code == 401
        answer = browser.post("/api/session", headers={"Authorization": f"Bearer {token}", "Origin": base_url})
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith(f"{name}=edgeward_")
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert ("Secure" in cookie) == base_url.startswith("https")
        assert browser.get("/api/session").json() == {"name": "ada", "role": "operator", "signed_in": True}
        assert browser.delete("/api/session", headers={"Origin": base_url}).status_code == 204
        assert browser.get("/api/session").status_code == 401


def test_the_audit_says_who_did_what(engine: Engine, visit: Visit) -> None:
    ada = visit(tokens.create(engine, "ada", "admin", by="root"))
    assert ada.post("/api/tokens", json={"name": "bob", "role": "operator", "days": 1}).status_code == 201
    assert ada.post("/api/requests", json={"device_id": "f/d", "command": "rollback"}).status_code == 202
    silence = ada.post("/api/silences", json={"match": "f/*", "for_s": 60, "reason": "moving"}).json()["id"]
    assert ada.delete(f"/api/silences/{silence}").status_code == 204
    assert ada.delete("/api/tokens/bob").status_code == 204
    assert [(deed.who, deed.action, deed.subject) for deed in reversed(audit.deeds(engine))] == [
        ("root", "token.create", "ada"),
        ("ada", "token.create", "bob"),
        ("ada", "request.rollback", "f/d"),
        ("ada", "silence.create", "f/*"),
        ("ada", "silence.end", silence),
        ("ada", "token.revoke", "bob"),
    ]
    pages = [ada.get("/api/audit", params={"limit": 4}).json()]
    pages.append(ada.get("/api/audit", params={"limit": 4, "before": pages[0][-1]["id"]}).json())
    assert [deed["id"] for page in pages for deed in page] == [6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("http", "has_token", "missing"),
    [
        ({}, False, None),
        ({"host": "localhost"}, False, None),
        ({"host": "::1"}, False, None),
        ({"host": "0.0.0.0"}, False, "make a token with: edgeward fleet token create"),
        ({"host": "0.0.0.0"}, True, "name a certificate and its key"),
        ({"host": "monitor.example"}, True, "name a certificate and its key"),
        ({"host": "0.0.0.0", "insecure": True}, False, None),
        ({"certificate": "cert.pem"}, True, "certificate and key together"),
        ({"certificate": "no-such.pem", "key": "no-such.key"}, True, "which is not a file"),
    ],
)
def test_nothing_listens_beyond_loopback_without_token_and_tls(http, has_token: bool, missing: str | None) -> None:
    if missing is None:
        exposure.check(HttpConfig(**http), has_token)
        return
    with pytest.raises(ConfigError, match=missing):
        exposure.check(HttpConfig(**http), has_token)


def test_a_network_that_is_trusted_is_asked_by_address_or_with_a_token(engine: Engine, visit: Visit) -> None:
    trusted = {"host": "0.0.0.0", "insecure": True}
    assert visit(**trusted).get("/api/devices", headers={"Host": "10.0.0.7:8080"}).status_code == 200
    assert visit(**trusted).get("/api/devices", headers={"Host": "evil.example"}).status_code == 401
    token = tokens.create(engine, "ada", "viewer", by="test")
    assert visit(**trusted).get("/api/devices", headers={"Host": "10.0.0.7:8080"}).status_code == 401
    assert visit(token, **trusted).get("/api/devices", headers={"Host": "evil.example"}).status_code == 200


def test_pages_allow_scripts_of_ours_alone(visit: Visit) -> None:
    for path in ("/", "/devices/f/d", "/login", "/static/main.js"):
        answer = visit().get(path)
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"].startswith("default-src 'self';")
        assert "://" not in answer.text.replace("http://www.w3.org", ""), "nothing from elsewhere"


def test_the_command_line_makes_lists_and_revokes_tokens(tmp_path: Path) -> None:
    app = typer.Typer()
    commands.register(app)
    config = tmp_path / "monitor.toml"
    config.write_text(f'store = {{url = "sqlite:///{tmp_path / "monitor.db"}"}}\n')

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, ["token", *words, "--config", str(config)])

    made = run("create", "ada", "--role", "operator")
    engine = database.open_engine(f"sqlite:///{tmp_path / 'monitor.db'}")
    assert tokens.recognize(engine, made.stdout.strip()) == Caller("ada", "operator")
    assert '"name":"ada","role":"operator"' in run("list", "--json").stdout
    assert run("revoke", "ada").exit_code == 0
    assert tokens.recognize(engine, made.stdout.strip()) is None
    assert isinstance(run("revoke", "ada").exception, ConfigError)
