"""A monitor as a process of its own, for programs that need one for a while: the demo and the tests."""

import contextlib
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

import httpx
import msgspec

from edgeward.monitor import child
from edgeward_runtimes.errors import MonitorError

_READY_WITHIN_S = 60.0


class MonitorProcess:
    """`edgeward monitor` with its broker and store under a folder, from entering the context to leaving it."""

    def __init__(
        self, folder: Path, *, http_port: int = 0, broker_url: str | None = None, registry: Path | None = None
    ) -> None:
        """Use `folder` for the store and the log; port 0, or a taken one, becomes any free one.

        Args:
            folder: Made when absent. A store that is there already is continued.
            http_port: Of REST and dashboard.
            broker_url: A broker that runs elsewhere, instead of the embedded one.
            registry: A signed registry to serve.
        """
        self._registry = registry
        self._folder = folder
        self._http_port = _free_port(http_port)
        self._embedded = broker_url is None
        self.broker_url = broker_url or f"mqtt://127.0.0.1:{_free_port(0)}"
        self.url = f"http://127.0.0.1:{self._http_port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it works. Raises MonitorError with the log's last line when it does not.

        Whatever it raises, Ctrl-C included, nothing is left running.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "monitor.toml"
        config.write_bytes(
            msgspec.toml.encode(
                {
                    "broker": {"embedded": self._embedded, "url": self.broker_url},
                    "store": {"url": f"sqlite:///{self._folder.absolute() / 'monitor.db'}"},
                    "http": {"port": self._http_port},
                    "registry": {} if self._registry is None else {"folder": str(self._registry.absolute())},
                }
            )
        )
        with self._log.open("ab") as log:
            self._process = child.start("edgeward", "monitor", "--config", str(config), output=log)
        try:
            self._await_answer(self._process)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it and wait for its end."""
        if self._process is not None:
            child.stop(self._process)

    def kill(self) -> None:
        """Kill -9 it."""
        if self._process is not None:
            child.kill(self._process)

    def __enter__(self) -> "MonitorProcess":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _log(self) -> Path:
        return self._folder / "monitor.log"

    def _await_answer(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + _READY_WITHIN_S
        while not self._answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise MonitorError(f"The monitor did not start: {self._last_words()}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/healthz", timeout=2).is_success
        return False

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def _free_port(wanted: int) -> int:
    """The wanted port of loopback where it is free, else any free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
