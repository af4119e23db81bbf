"""Log lines at warning and above, forwarded to the fleet; a token bucket keeps a loop of errors off the network.

The latest of all lines are kept in memory as well, for whoever asks.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from edgeward_runtimes.sparkplug.session import LogLine

BURST = 20  # lines at once
EVERY_S = 5.0  # and one more in this time
_LONGEST_LINE = 400
_RECENT = 1000


class Forwarder(logging.Handler):
    """Collects lines until they are taken; those beyond the rate are counted and dropped."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        super().__init__(logging.WARNING)
        self._clock = clock
        self._lines: deque[LogLine] = deque(maxlen=BURST)
        self._tokens, self._filled_at = float(BURST), clock()
        self._counting = threading.Lock()
        self.dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line, without its traceback."""
        try:
            message = " ".join(record.getMessage().split()).replace("\0", "")
        except (TypeError, ValueError):  # arguments that do not fit the format
            message = str(record.msg)
        text = f"{record.levelname} {record.name}: {message}"
        with self._counting:
            if not self._has_token():
                self.dropped += 1
                return
            if len(self._lines) == BURST:
                self.dropped += 1  # nobody took the lines for so long that the oldest must go
            self._lines.append(LogLine(int(record.created * 1000), text[:_LONGEST_LINE]))

    def take(self) -> tuple[LogLine, ...]:
        """The lines since the last call."""
        with self._counting:
            lines = tuple(sorted(self._lines, key=lambda line: line.timestamp))
            self._lines.clear()
        return lines

    def _has_token(self) -> bool:
        now = self._clock()
        self._tokens = min(BURST, self._tokens + (now - self._filled_at) / EVERY_S)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Recent(logging.Handler):
    """The latest lines at info and above, in memory, for a host that asks for them."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self._kept: deque[str] = deque(maxlen=_RECENT)

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line, with its traceback."""
        with contextlib.suppress(TypeError, ValueError):  # arguments that do not fit the format
            self._kept.append(self.format(record)[:_LONGEST_LINE])

    def lines(self) -> list[str]:
        """Oldest first."""
        return list(self._kept)
