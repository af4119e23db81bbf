"""The dashboard with 10,000 simulated devices, in headless Chromium: time to first paint, to the devices, to filter.

    python -m tests.benchmarks.dashboard [--write docs/performance.md] [--pictures docs/pictures] [--devices 10000]

The store is filled with what the simulation's devices tell, through the host and the store as ingest does it; then a
monitor serves it. A filter's time is from the keystroke to the frame after the table has changed.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

from edgeward.monitor import database, store
from edgeward.monitor.host import HostState
from edgeward.monitor.process import MonitorProcess
from edgeward.monitor.updates import Update
from edgeward.simulate import boards
from edgeward.simulate.device import Nature, SimulatedDevice
from edgeward_runtimes.sparkplug.session import EdgeNode
from tests.benchmarks import document, machine

_INTRODUCTION = """## Dashboard

With 10,000 simulated devices of two models each, in headless Chromium: `make bench-dashboard`."""
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
_SILENT_S = 1e7  # so that nobody goes offline while the pages are looked at
_HISTORY_S = 6 * 3600.0
_ROUNDS = 9
_WORDS = ("pi5", "jetson", "1.3.2", "visual", "raspberrypi4-00", "warning", "openvino", "x86 1.4", "nothing like it")
_FILTER = """async (words) => {
  const box = document.querySelector("input[type=search]"), status = document.querySelector("[role=status]");
  const before = status.textContent, start = performance.now();
  const changed = new Promise((done) => new MutationObserver((_, observer) => {
    if (status.textContent === before) return;
    observer.disconnect();
    requestAnimationFrame(() => done(performance.now() - start));
  }).observe(document.body, { subtree: true, childList: true, characterData: true }));
  box.value = words;
  box.dispatchEvent(new Event("input", { bubbles: true }));
  return await changed;
}"""
_PAINTED = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
_PLACES = {"fleet": "/", "models": "/models", "alerts": "/alerts", "audit": "/audit"}


class Row(NamedTuple):
    """One line of the table; times in milliseconds."""

    what: str
    times: list[float]
    limit: float | None

    @property
    def is_met(self) -> bool:
        """Whether the median keeps to the limit."""
        return self.limit is None or statistics.median(self.times) < self.limit

    def cells(self) -> tuple[str, str, str, str]:
        """As the document has it."""
        limit = "" if self.limit is None else f"< {self.limit:.0f} ms"
        verdict = "" if self.limit is None else "met" if self.is_met else "missed"
        return (self.what, f"{statistics.median(self.times):.0f} ms (up to {max(self.times):.0f})", limit, verdict)


def fill(url: str, number: int, reports: int = 4, of_first: int = 96) -> str:
    """Fill a store with what so many devices tell over six hours; gives the id of a device that tells more often."""
    engine = database.open_engine(url)
    host, now = HostState(), time.time()
    devices = [_Device(index, now - _HISTORY_S) for index in range(number)]
    every = of_first // reports
    for step in range(1, of_first + 1):
        at = now - _HISTORY_S * (1 - step / of_first)
        talking = [each for index, each in enumerate(devices) if index == 0 or (index + step) % every == 0]
        store.apply(engine, [update for each in talking for update in each.tell(host, at)])
    engine.dispose()
    return f"simulated/{devices[0].name}"


class _Device:
    """A simulated device with its Sparkplug session."""

    def __init__(self, index: int, at: float) -> None:
        chance = random.Random(index)
        board, fault = boards.board_of(chance), boards.fault_of(chance)
        release = "1.3.2-9ad4e771" if chance.random() < 0.2 else "1.4.0-5b1f0c2e"
        nature = Nature(board, fault, boards.models(2), release, 1.0, 0.002, _SILENT_S)
        self.name = f"{board.target}-{index:05}"
        self._device = SimulatedDevice(nature, chance, "epoch", at)
        self._node = EdgeNode("simulated", self.name, 0)

    def tell(self, host: HostState, at: float) -> Iterator[Update]:
        """Its birth, or what has changed since."""
        reading = self._device.read(at)
        for message in self._node.data(reading) if self._node.is_born else self._node.birth(reading, 60.0):
            yield from host.receive(message.topic, message.payload, at)


def measure(page: Page, url: str, device: str) -> Iterator[Row]:
    """Every time that is promised, and some more."""
    painted, listed = [], []
    for _ in range(_ROUNDS):
        page.goto(url, wait_until="commit")
        page.wait_for_selector("tbody tr a")
        listed.append(page.evaluate("performance.now()"))
        painted.append(page.evaluate(_PAINTED))
    yield Row("fleet: first paint", painted, 1000)
    yield Row("fleet: the worst devices are listed", listed, 1000)
    yield Row("fleet: filtered after a keystroke", [_filtered(page, words) for words in _WORDS], 200)
    for what, path, shown in (
        ("device: figures and charts", f"/devices/{device}", ".models canvas"),
        ("model: figures and charts", "/models/keyword-spotting", "table:has-text('raspberrypi4')"),
    ):
        yield Row(what, [_shown(page, url + path, shown) for _ in range(_ROUNDS)], None)


def _filtered(page: Page, words: str) -> float:
    took = float(page.evaluate(_FILTER, words))
    page.wait_for_timeout(300)
    return took


def _shown(page: Page, url: str, selector: str) -> float:
    page.goto(url, wait_until="commit")
    page.wait_for_selector(selector)
    return float(page.evaluate("performance.now()"))


def take_pictures(browser: Browser, url: str, device: str, folder: Path) -> None:
    """Every page as people see it, in light; the device's in dark too; and the fleet's on a phone."""
    folder.mkdir(parents=True, exist_ok=True)
    places = {**_PLACES, "device": f"/devices/{device}", "model": "/models/keyword-spotting"}
    for name, path in places.items():
        _take(browser, url + path, folder / f"{name}.png", width=1280, height=860)
    _take(browser, url + places["device"], folder / "device-dark.png", width=1280, height=860, color_scheme="dark")
    _take(browser, url, folder / "phone.png", width=390, height=780)


def _take(browser: Browser, url: str, file: Path, *, width: int, height: int, **settings: Any) -> None:
    page = browser.new_page(viewport={"width": width, "height": height}, **settings)
    page.goto(url)
    page.wait_for_timeout(3000)
    page.screenshot(path=file)
    page.close()


def _act(url: str, device: str) -> None:
    """Something for the audit and the timeline."""
    for command, arguments in (("collect_logs", {}), ("rollback", {"name": "keyword-spotting"})):
        body = {"device_id": device, "command": command, "arguments": arguments}
        httpx.post(f"{url}/api/requests", json=body).raise_for_status()
    silence = {
        "match": "simulated/jetson*",
        "for_s": 28_800,
        "reason": "cooling is being repaired",
        "rule": "temperature*",
    }
    httpx.post(f"{url}/api/silences", json=silence).raise_for_status()


def main() -> int:
    """Fill, measure, take pictures, write; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="rewrite the table in this page")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="leave pictures of the pages here")
    parser.add_argument("--settle-s", type=float, default=75.0, help="for how long alerts and roll-ups may work first")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgeward-bench-") as folder, sync_playwright() as playwright:
        device = fill(f"sqlite:///{folder}/monitor.db", options.devices)
        print(f"{options.devices:,} devices are in the store", file=sys.stderr, flush=True)
        with MonitorProcess(Path(folder)) as monitor:
            time.sleep(options.settle_s)
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=_FLAGS)
            neighbours = machine.Neighbours()
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            rows = list(measure(page, monitor.url, device))
            share = neighbours.share()
            if options.pictures is not None:
                _act(monitor.url, device)
                take_pictures(browser, monitor.url, device, options.pictures)
            browser.close()
    when = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    measured = (
        f"Measured on {when}: {machine.describe()}, SQLite, {options.devices:,} devices. Other programs, of which the"
    )
    measured += f" monitor's and Chromium's are some, had {share:.0%} of the processors' time meanwhile. Medians."
    report = f"{measured}\n\n{document.table(('', 'measured', 'must be', ''), [row.cells() for row in rows])}"
    print(report)
    if options.write is not None:
        document.write_part(options.write, "bench-dashboard", report, _INTRODUCTION)
    return 0 if all(row.is_met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
