"""The broker and the monitor, in the hub's namespace: each can be killed, and is started again."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from tests.benchmarks.chaos.network import ADDRESS, HUB, inside
from tests.benchmarks.models import REPOSITORY

PORT = 1883
_HTTP_PORT = 8080
_ASK = "import sys, urllib.request; sys.stdout.write(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode())"
_READY_WITHIN_S = 90.0

Shown = dict[tuple[str, str], int]  # by device and release


class Hub:
    """Broker and monitor."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = (folder / "hub.log").open("ab")
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin")
        if program is None:
            raise SystemExit("mosquitto is not installed: make system-packages")
        configuration = folder / "mosquitto.conf"
        configuration.write_text(f"listener {PORT} {ADDRESS}\nallow_anonymous true\nlog_type none\n")
        self._broker_command = inside(HUB, program, "-c", str(configuration))
        monitor = folder / "monitor.toml"
        monitor.write_bytes(
            msgspec.toml.encode(
                {
                    "broker": {"embedded": False, "url": f"mqtt://{ADDRESS}:{PORT}"},
                    "store": {"url": f"sqlite:///{folder / 'monitor.db'}"},
                    "http": {"port": _HTTP_PORT},
                }
            )
        )
        self._monitor_command = inside(HUB, sys.executable, "-m", "edgeward", "monitor", "--config", str(monitor))

    def start(self) -> None:
        """Start both, and wait for the monitor."""
        self._broker = self._start(self._broker_command)
        self._monitor = self._start(self._monitor_command)
        self.await_ready()

    def restart_broker(self) -> None:
        """Kill -9 the broker: it remembers nothing."""
        self._broker.kill()
        self._broker.wait()
        time.sleep(0.5)
        self._broker = self._start(self._broker_command)

    def kill_monitor(self) -> None:
        """Kill -9 the monitor; its own processes end with it."""
        self._monitor.kill()
        self._monitor.wait()
        self._monitor = self._start(self._monitor_command)

    def await_ready(self) -> None:
        """Wait until the monitor answers that all of it works."""
        deadline = time.monotonic() + _READY_WITHIN_S
        while self._ask("/healthz") is None:
            if time.monotonic() > deadline:
                raise SystemExit(f"the monitor does not answer; see {self._folder / 'hub.log'}")
            time.sleep(0.5)

    def shown(self, model: str) -> Shown:
        """The predictions that the monitor shows by device and release, as its REST says."""
        found: Shown = {}
        for each in self._ask("/api/devices?limit=1000") or []:
            for release in self._ask(f"/api/devices/{each['id']}/releases?model={model}") or []:
                found[each["id"], release["release"]] = release["predictions"]
        return found

    def close(self) -> None:
        """End both."""
        self._monitor.terminate()
        self._monitor.wait()
        self._broker.kill()
        self._broker.wait()
        self._log.close()

    def _ask(self, path: str) -> "list[dict] | dict | None":
        command = inside(HUB, sys.executable, "-I", "-c", _ASK, f"http://127.0.0.1:{_HTTP_PORT}{path}")
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        return json.loads(answer.stdout) if answer.returncode == 0 else None

    def _start(self, command: list[str]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(command, cwd=REPOSITORY, stdout=self._log, stderr=self._log)
