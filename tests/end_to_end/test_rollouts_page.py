"""The rollouts' pages in a real browser: what goes on is seen as it goes on, and an operator can stop it there."""

import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Page, expect, sync_playwright

from edgeward.monitor import dashboard, database
from edgeward.monitor.api import make_app
from edgeward.monitor.rollouts import acting, groups, operating
from edgeward.monitor.rollouts.state import Terms
from edgeward.monitor.rollouts.terms import Gates
from tests.conftest import wait_for
from tests.rollout_devices import NEW, OLD, Devices


@pytest.fixture
def devices(tmp_path: Path) -> Devices:
    engine = database.open_engine(f"sqlite:///{tmp_path / 'monitor.db'}")
    devices = Devices(engine, 20)
    groups.set_group(engine, "all", ["f/*"], "kim")
    return devices


@pytest.fixture
def url(devices: Devices) -> Iterator[str]:
    app = make_app(devices.engine, {})
    dashboard.mount(app)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        wait_for(lambda: server.started, "the server")
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = server.force_exit = True
            thread.join()


@pytest.fixture
def page() -> Iterator[Page]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("dialog", lambda dialog: dialog.accept())
        yield page
        browser.close()


def _round(devices: Devices) -> None:
    acting.act(devices.engine)
    devices.obey()
    devices.predict()


def test_a_rollout_is_watched_and_aborted_in_the_browser(devices: Devices, url: str, page: Page) -> None:
    terms = Terms(model="toy", version="1.1.0", group="all", soak_s=3600.0, gates=Gates(p95=1.1), samples=100)
    operating.start(devices.engine, terms, "kim")
    page.goto(f"{url}/rollouts")
    expect(page.get_by_role("table", name="Rollouts")).to_contain_text("stage 1 of 3, 0 of 20 devices")
    page.get_by_role("link", name="toy 1.1.0").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("toy 1.1.0 to all")
    _round(devices)
    _round(devices)
    table = page.get_by_role("table", name="Devices")
    expect(table.get_by_role("row").nth(1)).to_contain_text(f"installed{NEW}{OLD}")
    expect(page.get_by_role("table", name="What the gates see")).to_contain_text("at most 1.1 of the old")
    page.get_by_role("button", name="Abort").click()
    expect(page.get_by_role("status")).to_have_text("aborted by local")
    for _ in range(3):
        _round(devices)
    expect(page.get_by_role("table", name="History")).to_contain_text("aborted: aborted by local")
    assert set(devices.releases.values()) == {OLD}
