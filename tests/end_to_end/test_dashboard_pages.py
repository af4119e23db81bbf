"""Every page in a real browser: on a phone, by keyboard, dark and light, for viewers; and never a foreign script."""

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from sqlalchemy import Engine

from edgeward.listening import listening
from edgeward.monitor import dashboard, database, store
from edgeward.monitor.access import tokens
from edgeward.monitor.access.guard import Guard
from edgeward.monitor.api import make_app
from edgeward.monitor.config import HttpConfig
from edgeward.monitor.updates import LogLine, LogsSeen, ModelSeen, NodeSeen
from edgeward_runtimes.latency.counters import Counters
from edgeward_runtimes.latency.histogram import Histogram

_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
_EVIL = "<img src=x onerror=\"document.title='owned'\">"
_PAGES = {
    "/?q=1": "[data-device='f/d 1']",
    "/devices/f/d%201": "text=cpu hot",
    "/models": "text=toy",
    "/models/toy": "text=1.0.0-aa",
    "/rollouts": "text=No rollout has begun yet",
    "/alerts": "text=No silence holds",
    "/audit": "text=token.create",
}
# What a screen reader would call each thing that can be used or is a picture; empty: nothing.
_NAMES = """() => [...document.querySelectorAll("a, button, input, select, canvas, [role=img]")]
  .filter((each) => each.checkVisibility() && !each.closest("[aria-hidden=true], .chart > *"))
  .filter((each) => !(each.getAttribute("aria-label") ?? each.labels?.[0]?.textContent ?? each.textContent).trim())
  .map((each) => each.outerHTML.slice(0, 120))"""

Visit = Callable[..., Any]


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = database.open_engine(f"sqlite:///{tmp_path / 'monitor.db'}")
    node = {"keep_alive_s": 1e12, "target": _EVIL, "temperature_c": 85.0}
    devices = [NodeSeen("f", f"d {number}", 60.0, True, node if number == 1 else {}) for number in range(40)]
    totals = (Counters("1.0.0-aa", "e", 1, Histogram.of([2_000_000] * 90)),)
    store.apply(engine, [*devices, ModelSeen("f", "d 1", "toy", 60.0, {"release": "1.0.0-aa"}, totals)])
    store.apply(engine, [LogsSeen("f", "d 1", (LogLine(60.0, "ERROR", "board", f"cpu hot {_EVIL}"),))])
    return engine


@pytest.fixture
def url(engine: Engine) -> Iterator[str]:
    app = make_app(engine, {})
    dashboard.mount(app)
    with listening("127.0.0.1", 0, "") as web:
        server = uvicorn.Server(uvicorn.Config(Guard(app, engine, HttpConfig()), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [web]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{web.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture
def visit() -> Iterator[Visit]:
    """Open a browser of its own; what it complains of on its console fails the test."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_FLAGS)

        def open_page(**settings: Any) -> Any:
            page = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **settings}).new_page()
            page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            return page

        yield open_page
        browser.close()
    assert complaints == []


def test_every_page_fits_a_phone_has_names_for_all_and_runs_no_foreign_script(
    url: str, engine: Engine, visit: Visit
) -> None:
    token = tokens.create(engine, "ada", "admin", by="test")
    page = visit(viewport={"width": 390, "height": 800})
    page.goto(url)
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_selector("nav")
    for path, shown in _PAGES.items():
        page.goto(url + path)
        page.wait_for_selector(shown)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        assert page.evaluate(_NAMES) == [], path
        assert page.title() != "owned", path
    page.goto(f"{url}/devices/f/d%201")
    page.wait_for_selector(f"text={_EVIL}")


def test_devices_are_filtered_and_opened_by_keyboard_alone(url: str, visit: Visit) -> None:
    page = visit()
    page.goto(url)
    page.wait_for_selector("text=40 devices")
    page.keyboard.press("/")
    page.keyboard.type("d 39 offline")
    page.wait_for_selector("text=1 device")
    assert page.url.endswith("?q=d+39+offline"), "the address can be kept and sent"
    while page.evaluate("document.activeElement.textContent") != "f/d 39":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('f/d 39')")


def test_dark_and_light_follow_the_system_until_one_is_chosen(url: str, visit: Visit) -> None:
    page = visit(color_scheme="dark")
    page.goto(url)
    colour = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(colour)
    page.get_by_role("button", name="Dark or light").click()
    light = page.evaluate(colour)
    assert dark != light
    page.reload()
    assert page.evaluate(colour) == light
    page.emulate_media(color_scheme="light")
    assert page.evaluate(colour) == light


def test_a_viewer_signs_in_sees_no_actions_and_signs_out(url: str, engine: Engine, visit: Visit) -> None:
    from playwright.sync_api import expect

    token = tokens.create(engine, "bob", "viewer", by="test")
    page = visit()
    page.goto(f"{url}/devices/f/d%201")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="f/d 1")).to_be_visible()
    expect(page.get_by_text("bob (viewer)")).to_be_visible()
    expect(page.get_by_role("button", name="Collect logs")).to_be_hidden()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()


def test_what_is_asked_of_a_device_is_seen_on_its_page(url: str, visit: Visit) -> None:
    page = visit()
    page.goto(f"{url}/devices/f/d%201")
    page.get_by_role("button", name="Collect logs").click()
    page.wait_for_selector("text=collect_logs asked by local: waits until the device is online")
    page.get_by_role("button", name="Silence alerts").click()
    page.wait_for_selector("text=Its alerts tell nobody for that long.")
    page.goto(f"{url}/audit")
    page.wait_for_selector("text=request.collect_logs")
    page.wait_for_selector("text=silence.create")
