"""Keeps a part of the monitor, a process of its own, running: whenever it ends, a new one is started."""

import logging
import threading
from types import TracebackType

from edgeward.monitor import child

_log = logging.getLogger("edgeward.monitor")
_LOOK_EVERY_S = 0.5
_RESTART_AFTER_S = 1.0


class Supervised:
    """A module of ours, from entering the context to leaving it."""

    def __init__(self, module: str, *arguments: str) -> None:
        """Run `python -m MODULE ARGUMENT…`."""
        self._command = (module, *arguments)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name=f"supervise {module}", daemon=True)

    def __enter__(self) -> "Supervised":
        self._process = child.start(*self._command)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        child.stop(self._process)

    @property
    def is_alive(self) -> bool:
        """Whether it runs at this moment."""
        return self._process.poll() is None

    def _supervise(self) -> None:
        while not self._stopping.wait(_LOOK_EVERY_S):
            if self.is_alive or self._stopping.wait(_RESTART_AFTER_S):
                continue
            _log.error("%s ended with code %s; starting it again", self._command[0], self._process.returncode)
            child.stop(self._process)  # lets go of its pipe
            self._process = child.start(*self._command)
