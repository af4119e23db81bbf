"""One device: a home with two releases, an agent and an application, each killed and started again, and a clock."""

import os
import random
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from edgeward_runtimes.home import Home
from edgeward_runtimes.install.installer import install
from tests.benchmarks import models
from tests.benchmarks.chaos.application import ENTRY
from tests.benchmarks.chaos.network import ADDRESS, inside, namespace
from tests.benchmarks.models import REPOSITORY

FLEET = "chaos"
_EVERY_S = 0.01  # between two predictions
_FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"

Made = dict[tuple[str, str], tuple[int, int]]  # by device and release: predictions done, and begun


class Device:
    """A device of the fleet."""

    def __init__(self, number: int, folder: Path, port: int) -> None:
        """`port`: the broker's."""
        self.name = f"device-{number}"
        self.restarts = 0
        self._namespace = namespace(number)
        self._home = Home.under(folder / self.name)
        self._ledgers = folder / self.name / "ledgers"
        self._clock = folder / self.name / "clock"
        self._config = folder / self.name / "agent.toml"
        self._log = (folder / f"{self.name}.log").open("ab")
        self._ledgers.mkdir(parents=True)
        self._clock.write_text("+0")
        self._config.write_text(
            f'fleet = "{FLEET}"\ndevice = "{self.name}"\nbroker = "mqtt://{ADDRESS}:{port}"\n'
            "interval_s = 1.0\nkeep_alive_s = 2\n"
        )
        self._agent: subprocess.Popen[bytes] | None = None
        self._application: subprocess.Popen[bytes] | None = None

    def install(self, bundle: Path) -> None:
        """Make a release current; an application takes it up when it is started next."""
        install(self._home, bundle)

    def start_agent(self) -> None:
        """Start the agent."""
        self._agent = self._start("edgeward_runtimes.agent", "--config", str(self._config))

    def start_application(self) -> None:
        """Start the application."""
        module = "tests.benchmarks.chaos.application"
        self._application = self._start(module, models.SOAKED, str(self._ledgers), str(_EVERY_S))

    def kill_agent(self) -> None:
        """Kill -9 the agent, and start it again."""
        _kill(self._agent)
        self.start_agent()

    def kill_application(self) -> None:
        """Kill -9 the application, and start it again."""
        _kill(self._application)
        self.start_application()

    def step_clock(self) -> None:
        """Let the device's clock jump by an hour, forth or back, for whatever runs on it."""
        step = random.choice(("+3600", "-3600", "+0"))
        self._clock.with_suffix(".new").write_text(step)
        self._clock.with_suffix(".new").replace(self._clock)

    def stop_application(self) -> None:
        """Let the application end by itself."""
        assert self._application is not None
        self._application.terminate()
        self._application.wait()

    def close(self) -> None:
        """End everything."""
        for process in (self._application, self._agent):
            _kill(process)
        self._log.close()

    def made(self) -> Made:
        """What the application wrote down."""
        found: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        for path in self._ledgers.iterdir():
            begun, done = ENTRY.unpack(path.read_bytes())
            total = found[f"{FLEET}/{self.name}", path.name.rpartition(".")[0].rpartition(".")[0]]
            total[0] += done
            total[1] += begun
        return {key: (done, begun) for key, (done, begun) in found.items()}

    def _start(self, module: str, *arguments: str) -> "subprocess.Popen[bytes]":
        environment = {**os.environ, **self._home.environment, **_faked(self._clock), "PYTHONPATH": str(REPOSITORY)}
        command = inside(self._namespace, sys.executable, "-m", module, *arguments)
        return subprocess.Popen(command, env=environment, stdout=self._log, stderr=self._log)


def can_step_clocks() -> bool:
    """Whether libfaketime is installed: a process that it is loaded into has a clock of its own."""
    return Path(_FAKETIME).is_file() and shutil.which("ip") is not None


def _faked(clock: Path) -> dict[str, str]:
    return {
        "LD_PRELOAD": _FAKETIME,
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }


def _kill(process: "subprocess.Popen[bytes] | None") -> None:
    if process is not None:
        process.kill()
        process.wait()
