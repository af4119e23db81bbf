"""Rollouts of a good release and of bad ones through a fleet of real agents: `python -m tests.benchmarks.rollouts`.

Agents, monitor, broker, signed registry and predicting applications are real, on this machine; the model is the tests'
plug-in engine, which multiplies, and sleeps as long as it is told. Gates, stages and soaks are set to seconds.
`--write docs/reliability.md` puts the table there.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
from msgspec import Struct

from edgeward.cli.rest import Monitor
from edgeward.monitor.process import MonitorProcess
from tests.benchmarks import document, machine
from tests.builders import write_bundle
from tests.conftest import REPOSITORY
from tests.fleets import FLEET, MODEL, Fleet, Predicted, until
from tests.registries import Publisher, served

PART = "bench-rollouts"
INTRODUCTION = """
## Rollouts

`make bench-rollouts`: real agents on one machine, with real applications that predict all the time, are led through
rollouts of a good release and of bad ones. "Healthy devices" are those that never had the bad release.
"""
_FAST, _SLOW = 0.02, 0.1  # seconds of a prediction
_TERMS = {
    "group": "all",
    "soak": "3s",
    "gate": "p95=2,errors=1%",
    "samples": 100,
    "at_once": 10,
    "answer_within": "60s",
}
# What a release does, by its version.
RELEASES: dict[str, dict[str, Any]] = {
    "1.0.0": {"factor": 2.0, "sleep_s": _FAST},
    "1.1.0": {"factor": 3.0, "sleep_s": _FAST, "trained": 3.0},
    "1.2.0": {"factor": 5.0, "sleep_s": _FAST, "trained": 4.0},
    "1.3.0": {"factor": 3.0, "sleep_s": _SLOW, "trained": 3.0},
    "1.4.0": {"factor": 3.0, "sleep_s": _FAST, "trained": 3.0, "fail_above": 30},
}


class Outcome(Struct, frozen=True):
    """How a rollout went.

    Attributes:
        took_s: From its start to its end.
        touched: Devices that were asked to install.
        running: Devices by the release that is current on their disks in the end.
        failed_there, failed_elsewhere: Failed predictions on touched devices, and on all others.
        predictions: All that were answered meanwhile.
    """

    what: str
    state: str
    reason: str
    took_s: float
    touched: list[str]
    running: dict[str, int]
    failed_there: int
    failed_elsewhere: int
    predictions: int


class Bench:
    """A fleet whose agents report to a monitor, and a registry with all releases."""

    def __init__(self, fleet: Fleet, monitor: MonitorProcess, stages: str, pause_s: float) -> None:
        self.fleet, self.monitor, self._stages, self._pause_s = fleet, monitor, stages, pause_s
        self.rest = Monitor(monitor.url)

    def roll_out(
        self, version: str, what: str, *, within_s: float = 180.0, kill_at_stage: int | None = None
    ) -> Outcome:
        """One rollout, with applications predicting from before its start until after its end."""
        with self.fleet.predicting(self._pause_s) as predicted:
            started = time.monotonic()
            wanted = {"name": MODEL, "version": version, "stages": self._stages, **_TERMS}
            rollout_id = self.rest.ask("POST", "/api/rollouts", wanted)["rollout"]["id"]
            if kill_at_stage is not None:
                until(lambda: self.found(rollout_id)["rollout"]["stage"] >= kill_at_stage, "the stage", within_s)
                self.kill_process()
            until(lambda: self.found(rollout_id)["rollout"]["state"] in ("done", "failed"), f"{what} to end", within_s)
            took_s = time.monotonic() - started
            time.sleep(2)  # applications go on for a while on what they have now
        return self._outcome(what, self.found(rollout_id), took_s, predicted)

    def found(self, rollout_id: str) -> dict[str, Any]:
        """A rollout as REST shows it."""
        return self.rest.ask("GET", f"/api/rollouts/{rollout_id}")  # type: ignore[no-any-return]

    def kill_process(self) -> None:
        """Kill -9 the process that rolls out; the monitor starts another."""
        for process in psutil.Process().children(recursive=True):
            if "edgeward.monitor.rollouts" in process.cmdline():
                process.kill()

    def running(self) -> dict[str, int]:
        """How many devices have which version on their disks."""
        versions = [str(self.fleet.release(name)).rpartition("-")[0] for name in self.fleet.names]
        return {version: versions.count(version) for version in sorted(set(versions))}

    def _outcome(self, what: str, found: dict[str, Any], took_s: float, predicted: dict[str, Predicted]) -> Outcome:
        touched = [each["device_id"].rpartition("/")[2] for each in found["members"] if each["attempts"]]
        failed = {name: seen.failed.total() for name, seen in predicted.items()}
        return Outcome(
            what,
            found["rollout"]["state"],
            found["rollout"]["reason"],
            took_s,
            touched,
            self.running(),
            sum(failed[name] for name in touched),
            sum(count for name, count in failed.items() if name not in touched),
            sum(seen.answered.total() for seen in predicted.values()),
        )


@contextmanager
def bench(folder: Path, count: int, stages: str, pause_s: float = 0.1, interval_s: float = 2.0) -> Iterator[Bench]:
    """Everything started, and every device seen by the monitor.

    Args:
        folder: For everything.
        count: Of agents.
        stages: Of all rollouts.
        pause_s: Between two predictions on a device.
        interval_s: Between two reports of an agent.
    """
    with ExitStack() as running:
        running.enter_context(_plugin(folder))
        publisher = Publisher.make(folder)
        bundles = {version: _bundle(folder, version) for version in RELEASES}
        publisher.add(*bundles.values())
        web = running.enter_context(served(publisher.folder))
        monitor = running.enter_context(MonitorProcess(folder / "monitor"))
        fleet = running.enter_context(Fleet(folder / "devices", count, monitor.broker_url, interval_s))
        fleet.install(bundles["1.0.0"], publisher, web.url)
        fleet.start()
        made = Bench(fleet, monitor, stages, pause_s)
        until(lambda: _reporting(made.rest) == count, "all agents to report", 120)
        made.rest.ask("PUT", "/api/groups/all", {"patterns": [f"{FLEET}/*"]})
        yield made


def catch_up(made: Bench, away: str, replaced: str) -> tuple[float, float]:
    """Seconds until a device that was away during the rollout, and one that was replaced, run the group's release."""
    wanted = f"{FLEET}/{away}"
    made.fleet.start(away)
    returned_s = until(lambda: str(made.fleet.release(away)).startswith("1.1.0-"), f"{wanted} to catch up", 120)
    made.fleet.replace(replaced)
    replaced_s = until(lambda: str(made.fleet.release(replaced)).startswith("1.1.0-"), f"{replaced} to catch up", 120)
    return returned_s, replaced_s


def _reporting(rest: Monitor) -> int:
    found = rest.ask("GET", "/api/devices", limit=1000)
    return sum(bool(each["models"]) and each["online"] for each in found)


def _bundle(folder: Path, version: str) -> Path:
    settings = dict(RELEASES[version])
    trained = settings.pop("trained", settings["factor"])
    path = folder / f"{MODEL}-{version}.edge"
    artifacts = {"multiply-fp32": json.dumps(settings).encode()}
    write_bundle(path, version=version, factor=trained, artifacts=artifacts)
    return path


@contextmanager
def _plugin(folder: Path) -> Iterator[None]:
    """The plug-in engine, for this process and all that it starts."""
    place = folder / "plugin"
    metadata = place / "multiply_engine-1.0.dist-info"
    metadata.mkdir(parents=True)
    shutil.copy(REPOSITORY / "tests" / "plugin_engine.py", place / "multiply_engine.py")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: multiply-engine\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[edgeward.engines]\nmultiply = multiply_engine:MultiplyEngine\n")
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(place), before)))
    sys.path.insert(0, str(place))
    try:
        yield
    finally:
        os.environ["PYTHONPATH"] = before
        sys.path.remove(str(place))


def _measure(count: int, stages: str) -> Iterator[tuple[str, ...]]:
    """The rows of the table, one after the other; the last cell says whether it went as it should."""
    with tempfile.TemporaryDirectory(prefix="edgeward-rollouts-") as folder, bench(Path(folder), count, stages) as made:
        away, replaced = made.fleet.names[-1], made.fleet.names[0]
        made.fleet.stop(away)
        good = made.roll_out("1.1.0", "good; its process is killed -9 in stage 2, one device is away", kill_at_stage=2)
        yield _row(good, "done", {"1.0.0": 1, "1.1.0": count - 1})
        returned_s, replaced_s = catch_up(made, away, replaced)
        late = f"returned: {returned_s:.0f} s, replaced by an empty one: {replaced_s:.0f} s"
        yield ("… and then on devices that", "", late, "", "2", _versions(made.running()), "", "", RIGHT)
        for version, what in (
            ("1.2.0", "gives wrong answers"),
            ("1.3.0", "is five times as slow"),
            ("1.4.0", "fails on inputs that the self-test does not have"),
        ):
            yield _row(made.roll_out(version, what), "failed", {"1.1.0": count})


def _row(outcome: Outcome, state: str, running: dict[str, int]) -> tuple[str, ...]:
    is_right = (outcome.state, outcome.running, outcome.failed_elsewhere) == (state, running, 0)
    return (
        outcome.what,
        outcome.state,
        outcome.reason if len(outcome.reason) <= _LONGEST_REASON else f"{outcome.reason[:_LONGEST_REASON]}…",
        f"{outcome.took_s:.0f} s",
        str(len(outcome.touched)),
        _versions(outcome.running),
        str(outcome.failed_there),
        f"{outcome.failed_elsewhere} ({outcome.predictions})",
        RIGHT if is_right else WRONG,
    )


def _versions(running: dict[str, int]) -> str:
    return ", ".join(f"{count} × {version}" for version, count in running.items())


RIGHT, WRONG = "right", "WRONG"
_LONGEST_REASON = 110
_HEADER = (
    "release",
    "",
    "why",
    "took",
    "devices asked",
    "runs in the end",
    "predictions that failed there",
    "failed on healthy devices (of all)",
    "",
)


def main() -> int:
    """Measure, print, and write where told."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=50)
    parser.add_argument("--stages", default="5%,25%,100%")
    parser.add_argument("--write", type=Path, help="the page whose part is written anew")
    options = parser.parse_args()
    rows = []
    for row in _measure(options.devices, options.stages):
        print(*row, sep=" · ", flush=True)
        rows.append(row)
    table = document.table(_HEADER, rows)
    print(table)
    if options.write is not None:
        where = f"{options.devices} agents, stages {options.stages}. {machine.describe()}"
        document.write_part(options.write, PART, f"{table}\n\n{where}.", INTRODUCTION)
    return int(any(row[-1] == WRONG for row in rows))


if __name__ == "__main__":
    sys.exit(main())
