"""Run it: `python -m tests.benchmarks.chaos [--devices 20] [--seconds 240] [--seed 0] [--write docs/reliability.md]`.

Devices predict and report while at random instants agents, applications, the broker and the monitor are killed with -9,
links are cut and clocks jump by an hour. Half-way, half of the devices get a second release. Then the applications end,
everything is left alone, and what the monitor shows is compared with what the applications wrote down, device by device
and release by release. Exits with 1 when one prediction is missing or shown twice.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import document, machine, models
from tests.benchmarks.chaos.device import Device, Made, can_step_clocks
from tests.benchmarks.chaos.hub import PORT, Hub, Shown
from tests.benchmarks.chaos.network import Network

_INTRODUCTION = """
## Counts under chaos

Devices in network namespaces of their own, with real agents and predicting processes, a real Mosquitto and the monitor;
faults at random instants. Applications write down each prediction in a file of their own before and after it. `make
chaos` runs it again and rewrites the table.
"""
_FAULTS = {
    "agent killed -9": 40,
    "application killed -9": 40,
    "broker killed and started again": 10,
    "monitor killed -9": 10,
    "link cut for two seconds": 10,
    "clock stepped by an hour": 10,
}
_CUT_S = 2.0
_CONVERGE_S = 120.0


class Chaos:
    """The faults of one run."""

    def __init__(self, devices: list[Device], hub: Hub, network: Network, chance: random.Random) -> None:
        self._devices, self._hub, self._network, self._chance = devices, hub, network, chance
        self._mending: list[threading.Timer] = []
        self.done: Counter[str] = Counter()

    def plan(self) -> list[str]:
        """All faults in a random order."""
        faults = [fault for fault, count in _FAULTS.items() for _ in range(count)]
        self._chance.shuffle(faults)
        return faults

    def make(self, fault: str) -> None:
        """Make one fault, somewhere."""
        number = self._chance.randrange(len(self._devices))
        device = self._devices[number]
        doing: dict[str, Callable[[], None]] = {
            "agent killed -9": device.kill_agent,
            "application killed -9": device.kill_application,
            "broker killed and started again": self._hub.restart_broker,
            "monitor killed -9": self._hub.kill_monitor,
            "link cut for two seconds": lambda: self._cut(number),
            "clock stepped by an hour": device.step_clock,
        }
        doing[fault]()
        self.done[fault] += 1

    def end(self) -> None:
        """Mend every link, and wait until the monitor works."""
        for timer in self._mending:
            timer.join()
        self._hub.await_ready()

    def _cut(self, number: int) -> None:
        self._network.set_link(number, up=False)
        timer = threading.Timer(_CUT_S, lambda: self._network.set_link(number, up=True))
        timer.start()
        self._mending.append(timer)


def run(devices: list[Device], chaos: Chaos, newer: Path, seconds: float) -> None:
    """Make all faults within so many seconds; half-way half of the devices get the newer release."""
    faults = chaos.plan()
    for index, fault in enumerate(faults):
        if index == len(faults) // 2:
            for device in devices[::2]:
                device.install(newer)
                device.kill_application()
                chaos.done["application killed -9"] += 1
        chaos.make(fault)
        print(f"\r{index + 1} of {len(faults)} faults: {fault:<40}", end="", file=sys.stderr, flush=True)
        time.sleep(seconds / len(faults))
    print(file=sys.stderr)
    chaos.end()


def compared(made: Made, shown: Shown) -> tuple[int, int]:
    """How many predictions are missing or too many, and how many were being made when their process was killed.

    What was being made then may have been counted or not, and either is right.
    """
    off = 0
    for key in made.keys() | shown.keys():
        done, begun = made.get(key, (0, 0))
        count = shown.get(key, 0)
        off += max(0, done - count) + max(0, count - begun)
    return off, sum(begun - done for done, begun in made.values())


def converged(hub: Hub, made: Made) -> Shown:
    """What the monitor shows, once it is what was made or the time is over."""
    deadline = time.monotonic() + _CONVERGE_S
    while True:
        shown = hub.shown(models.SOAKED)
        if compared(made, shown)[0] == 0 or time.monotonic() > deadline:
            return shown
        time.sleep(1)


def main() -> int:
    """Run, print, write; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="rewrite the table in this page")
    options = parser.parse_args()
    if not can_step_clocks():
        raise SystemExit("this needs root, ip and libfaketime: apt-get install iproute2 faketime")
    with tempfile.TemporaryDirectory(prefix="edgeward-chaos-") as temporary, Network(options.devices) as network:
        folder = Path(temporary)
        releases = [models.soaked(folder, version) for version in ("1.0.0", "2.0.0")]
        hub = Hub(folder)
        devices = [Device(number, folder, PORT) for number in range(options.devices)]
        try:
            for device in devices:
                device.install(releases[0])
            hub.start()
            for device in devices:
                device.start_agent()
                device.start_application()
            chaos = Chaos(devices, hub, network, random.Random(options.seed))
            run(devices, chaos, releases[1], options.seconds)
            for device in devices:
                device.stop_application()
            made = {key: value for device in devices for key, value in device.made().items()}
            shown = converged(hub, made)
        finally:
            for device in devices:
                device.close()
            hub.close()
    return _report(chaos.done, made, shown, options.write)


def _report(faults: Counter[str], made: Made, shown: Shown, page: Path | None) -> int:
    off, open_ones = compared(made, shown)
    rows = [(fault, f"{count:,}") for fault, count in faults.items()]
    rows += [
        ("devices, releases", f"{len({key[0] for key in made})}, {len({key[1] for key in made})}"),
        ("predictions made", f"{sum(done for done, _ in made.values()):,}"),
        ("being made when their process was killed (counted or not, both right)", f"{open_ones:,}"),
        ("predictions shown", f"{sum(shown.values()):,}"),
        ("missing or too many, over all devices and releases", f"{off:,}"),
    ]
    report = f"{machine.describe()}.\n\n{document.table(('', 'count'), rows)}"
    print(report)
    for key in sorted(made.keys() | shown.keys()):
        done, begun = made.get(key, (0, 0))
        if not done <= shown.get(key, 0) <= begun:
            print(f"{key[0]} {key[1]}: made {done} (begun {begun}), shown {shown.get(key, 0)}", file=sys.stderr)
    if page is not None:
        document.write_part(page, "chaos", report, _INTRODUCTION)
    return 0 if off == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
