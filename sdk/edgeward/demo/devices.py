"""The demo's devices: an agent and an application each, as processes of this machine."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

import msgspec
from msgspec import Struct

from edgeward.monitor import child
from edgeward_runtimes.errors import DeviceError
from edgeward_runtimes.home import Home


class Predicted(Struct, frozen=True):
    """What an application says it did."""

    predictions: int
    correct: int
    variant: str


class DemoDevice:
    """One device in a folder, its agent running from `start_agent` until the context ends."""

    def __init__(self, name: str, folder: Path, broker: str) -> None:
        self.name = name
        self.folder = folder
        self.url = f"local:{folder}"
        self._broker = broker
        self._processes = contextlib.ExitStack()

    def __enter__(self) -> "DemoDevice":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._processes.close()

    def start_agent(self, fleet: str, target: str) -> None:
        """Report to the broker every second."""
        config = self.folder / "agent.toml"
        config.write_bytes(
            msgspec.toml.encode(
                {
                    "fleet": fleet,
                    "device": self.name,
                    "target": target,
                    "broker": self._broker,
                    "interval_s": 1.0,
                    "keep_alive_s": 4,
                }
            )
        )
        self._start("agent.log", "edgeward_runtimes", "agent", "--config", str(config))

    def keep_predicting(self, evaluation: Path, every_s: float) -> None:
        """Have an application predict until the context ends."""
        self._start("application.log", "edgeward.demo.application", str(evaluation), "--every", str(every_s))

    def predict(self, evaluation: Path) -> "subprocess.Popen[bytes]":
        """Start an application that predicts the split once; `finish` reads its answer."""
        return subprocess.Popen(
            [sys.executable, "-m", "edgeward.demo.application", str(evaluation)],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def finish(self, application: "subprocess.Popen[bytes]") -> Predicted:
        """Wait for an application. Raises DeviceError when it failed."""
        stdout, stderr = application.communicate()
        if application.returncode != 0:
            raise DeviceError(f"The application on {self.name} failed: {stderr.decode(errors='replace')[-500:]}")
        return msgspec.json.decode(stdout, type=Predicted)

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, **Home.under(self.folder).environment}

    def _start(self, log: str, module: str, *arguments: str) -> None:
        with (self.folder / log).open("wb") as stream:
            process = child.start(module, *arguments, environment=self._environment, output=stream)
        self._processes.callback(child.stop, process)
