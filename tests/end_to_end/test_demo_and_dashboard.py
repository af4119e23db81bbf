"""The whole of it: the demo's totals are exact, and a browser sees a device go offline when its agent is killed."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from edgeward.monitor.process import MonitorProcess
from edgeward_runtimes.home import Home
from edgeward_runtimes.latency.recorder import Recorder

_KEEP_ALIVE_S = 4
_CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.mark.timeout(400)
def test_the_demo_reports_every_prediction_that_it_made() -> None:
    command = [sys.executable, "-m", "edgeward", "demo", "--once", "--json", "--port", "0"]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr[-2000:]
    outcome = json.loads(completed.stdout)
    assert outcome["predictions_made"] == outcome["predictions_reported"] >= 700
    assert [variant["kept"] for variant in outcome["variants"]] == [True] * 6
    assert all(device["accuracy"] > 0.95 and device["online"] for device in outcome["devices"])


@pytest.mark.timeout(400)
def test_a_demo_that_is_killed_leaves_nothing_running_and_a_folder_that_is_not_used_again(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgeward", "demo", "--json", "--port", "0", "--folder", str(tmp_path / "demo")]
    answer = tmp_path / "answer.json"
    with answer.open("wb") as stdout, subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE) as demo:
        try:
            assert demo.stderr is not None
            assert any(b"The dashboard is at" in line for line in demo.stderr)
            family = psutil.Process(demo.pid).children(recursive=True)
        finally:
            demo.kill()
    assert len(family) == 10, "monitor and its five parts, two agents, two applications"
    assert json.loads(answer.read_text())["predictions_made"] >= 700, "nothing but the answer on stdout"
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "already holds an earlier demo. Remove it, or choose another --folder." in again.stderr


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[tuple[MonitorProcess, list["subprocess.Popen[bytes]"]]]:
    with MonitorProcess(tmp_path / "monitor") as monitor:
        running = []
        for name in ("north?1", "south"):  # a name that a link has to quote
            home = Home.under(tmp_path / name)
            home.root.mkdir()
            recorder = Recorder("toy", "1.0.0-abc", home.latency)
            for _ in range(1234):
                recorder.success(3_000_000)
            recorder.close()
            config = home.root / "agent.toml"
            config.write_text(
                f'fleet="plant"\ndevice="{name}"\nbroker="{monitor.broker_url}"\n'
                f"interval_s=0.5\nkeep_alive_s={_KEEP_ALIVE_S}\n"
            )
            command = [sys.executable, "-m", "edgeward_runtimes", "agent", "--config", str(config)]
            environment = {**os.environ, **home.environment}
            running.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))
        yield monitor, running
        for agent in running:
            agent.kill()
            agent.wait()


def test_the_dashboard_shows_a_device_go_offline_within_one_and_a_half_keep_alives(agents) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    from playwright.sync_api import expect, sync_playwright

    monitor, (_, south) = agents
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(monitor.url)
        expect(page.locator("[data-device='plant/north?1']")).to_have_text("online", timeout=30_000)
        expect(page.locator("[data-device='plant/south']")).to_have_text("online", timeout=30_000)
        expect(page.get_by_text("2 of 2", exact=True)).to_be_visible()
        south.kill()
        killed_at = time.monotonic()
        expect(page.locator("[data-device='plant/south']")).to_have_text("offline", timeout=_KEEP_ALIVE_S * 1500)
        assert time.monotonic() - killed_at <= 1.5 * _KEEP_ALIVE_S
        expect(page.locator("[data-device='plant/north?1']")).to_have_text("online")
        page.get_by_role("link", name="plant/north?1").click()
        expect(page.get_by_text("1,234 predictions · 0 errors · p50 ")).to_be_visible(timeout=30_000)
        expect(page.locator("canvas").first).to_be_visible()
        browser.close()
