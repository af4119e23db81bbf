"""How fast a download may and must be. Pure: times and byte counts in, seconds to wait out."""

import re

from msgspec import Struct

from edgeward_runtimes.errors import ConfigError

_UNITS = {"": 1, "k": 1_000, "m": 1_000_000}
_CHUNK_BYTES = 2**16


class Limits(Struct, frozen=True):
    """What a download is held to.

    bytes_per_s         at most so fast, on average (None: as fast as it goes)
    least_bytes_per_s   slower than this over `timeout_s` is an attack, or as good as one
    timeout_s           the longest silence
    attempts            tries in a row that bring nothing new, before giving up
    pause_s             before the second try, doubled before each further one
    """

    bytes_per_s: float | None = None
    least_bytes_per_s: float = 100
    timeout_s: float = 30
    attempts: int = 5
    pause_s: float = 1

    @property
    def chunk_bytes(self) -> int:
        """How much to read at once: no more than a fifth of a second's worth."""
        return _CHUNK_BYTES if self.bytes_per_s is None else max(1, min(_CHUNK_BYTES, int(self.bytes_per_s / 5)))


def parse(text: str | None) -> float | None:
    """Bytes per second as people write them: 200k is 200,000, 1.5M is 1,500,000. Raises ConfigError."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmM]?)", text)
    rate = float(match[1]) * _UNITS[match[2].lower()] if match else 0.0
    if rate < 1:
        raise ConfigError(f"{text!r} is no bandwidth: expected bytes per second, e.g. 200k or 1.5M.")
    return rate


class Pace:
    """One response's: `after` says how long to wait once so many bytes have come."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._began = self._window = now
        self._received = self._in_window = 0

    def after(self, received: int, now: float) -> float:
        """Count bytes; seconds to wait before reading on."""
        self._received += received
        self._in_window += received
        if self._limits.bytes_per_s is None:
            return 0.0
        return max(0.0, self._began + self._received / self._limits.bytes_per_s - now)

    def too_slow(self, now: float) -> bool:
        """Whether too little came in the window that ends now; a new one begins when it was long enough."""
        if now - self._window < self._limits.timeout_s:
            return False
        least = min(self._limits.least_bytes_per_s, (self._limits.bytes_per_s or float("inf")) / 2)
        slow = self._in_window < least * (now - self._window)
        self._window, self._in_window = now, 0
        return slow
