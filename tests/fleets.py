"""A fleet of real agents on this machine, each with a home of its own, and applications that predict on all of them."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edgeward_runtimes.home import Home
from edgeward_runtimes.install import installer
from edgeward_runtimes.install.slots import Slots
from tests.conftest import REPOSITORY
from tests.registries import Publisher

FLEET, MODEL = "factory", "toy"
DEVICES_IN_A_PROCESS = 10


@dataclass
class Predicted:
    """What the applications of one device saw: answers by the factor that the release multiplies by, failures."""

    answered: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)


class Fleet:
    """Devices `factory/d00`, `factory/d01`, … under a folder."""

    def __init__(self, folder: Path, count: int, broker_url: str, interval_s: float) -> None:
        self._folder = folder
        self._configuration = {"fleet": FLEET, "broker": broker_url, "interval_s": interval_s, "keep_alive_s": 10}
        self.names = [f"d{number:02}" for number in range(count)]
        self.agents: dict[str, subprocess.Popen[bytes]] = {}

    def home(self, name: str) -> Home:
        """A device's home."""
        return Home.under(self._folder / name)

    def release(self, name: str) -> str | None:
        """What is really current on a device."""
        return Slots(self.home(name), MODEL).target("current")

    def install(self, bundle: Path, publisher: Publisher, registry_url: str) -> None:
        """Put the first release and the registry's root of trust on every device."""
        first = self.home(self.names[0])
        installer.install(first, bundle)
        publisher.enroll(first, registry_url)
        for name in self.names[1:]:
            shutil.copytree(first.root, self.home(name).root, symlinks=True)

    def replace(self, name: str) -> None:
        """A new device in the place of an old one: enrolled, but without any model."""
        self.stop(name)
        home = self.home(name)
        for folder in (home.models, home.run):
            shutil.rmtree(folder, ignore_errors=True)
        (home.root / "spool.db").unlink(missing_ok=True)
        self.start(name)

    def start(self, *names: str) -> None:
        """Start agents; without names, all."""
        for name in names or self.names:
            home = self.home(name)
            home.latency.mkdir(parents=True, exist_ok=True)
            path = home.root / "agent.toml"
            path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in self._agent(name).items()))
            with (home.root / "agent.log").open("ab") as log:
                self.agents[name] = subprocess.Popen(
                    [sys.executable, "-m", "edgeward_runtimes.agent", "--config", str(path)],
                    env={**os.environ, **home.environment},
                    stdout=log,
                    stderr=log,
                )

    def stop(self, *names: str) -> None:
        """Kill -9 agents; without names, all."""
        for name in names or list(self.agents):
            self.agents[name].kill()
        for name in names or list(self.agents):
            self.agents.pop(name).wait()

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @contextlib.contextmanager
    def predicting(self, pause_s: float, names: Iterable[str] | None = None) -> Iterator[dict[str, Predicted]]:
        """Applications on all devices; what they saw is there at the end."""
        homes = {str(self.home(name).root): name for name in names or self.names}
        found: dict[str, Predicted] = {}
        listed = list(homes)
        processes = [
            _predict(pause_s, listed[begin : begin + DEVICES_IN_A_PROCESS])
            for begin in range(0, len(listed), DEVICES_IN_A_PROCESS)
        ]
        try:
            for process in processes:
                assert process.stdout is not None
                assert process.stdout.readline() == "predicting\n", "an application did not start"
            yield found
            for process in processes:
                told, _ = process.communicate(timeout=60)
                for home, seen in json.loads(told).items():
                    found[homes[home]] = Predicted(Counter(seen["answered"]), Counter(seen["failed"]))
        finally:
            for process in processes:
                process.kill()
                process.wait()

    def _agent(self, name: str) -> dict[str, object]:
        return {**self._configuration, "device": name}


def _predict(pause_s: float, homes: list[str]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.predicting", MODEL, str(pause_s), *homes]
    return subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def until(condition: Callable[[], object], what: str, within_s: float) -> float:
    """Wait until a condition holds; gives for how long, in seconds."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > within_s:
            raise TimeoutError(f"waited {within_s} s for {what}")
        time.sleep(0.1)
    return time.monotonic() - started
