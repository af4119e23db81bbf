"""How far this device's clock is from its time source, as chrony or the kernel's own discipline tells."""

import ctypes
import shutil
import subprocess
import time
from collections.abc import Callable

_EVERY_S = 60.0  # clocks drift slowly, and asking chrony starts a program
_WITHIN_S = 2.0
_OFFSET_FIELD = 4  # of `chronyc -c tracking`: seconds that the system clock is slow of its source, so what it is behind
_STRATUM_FIELD = 2  # 0: not synchronized
_STA_UNSYNC, _STA_NANO = 0x0040, 0x2000


class _Timex(ctypes.Structure):
    """The head of `struct timex` (adjtimex(2)); the rest is room for the kernel to write into."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


class Clock:
    """Asks once a minute."""

    def __init__(self) -> None:
        self._asked_at = float("-inf")
        self._offset: float | None = None
        self._ask: Callable[[], float | None] = chrony_offset_ms if shutil.which("chronyc") else kernel_offset_ms

    def offset_ms(self) -> float | None:
        """Milliseconds that our clock is ahead; None when it is not synchronized, or nothing tells."""
        if time.monotonic() - self._asked_at >= _EVERY_S:
            self._asked_at = time.monotonic()
            self._offset = self._ask()
        return self._offset


def chrony_offset_ms() -> float | None:
    """What chrony tells."""
    try:
        answer = subprocess.run(
            ["chronyc", "-c", "tracking"], capture_output=True, text=True, timeout=_WITHIN_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_tracking(answer.stdout)


def parse_tracking(line: str) -> float | None:
    """Milliseconds ahead from a line of `chronyc -c tracking`; None when it is not synchronized."""
    fields = line.strip().split(",")
    try:
        if int(fields[_STRATUM_FIELD]) == 0:
            return None
        return float(fields[_OFFSET_FIELD]) * -1000
    except (IndexError, ValueError):
        return None


def kernel_offset_ms() -> float | None:
    """What is left for the kernel to correct (as systemd-timesyncd and ntpd tell it); it is behind by `offset`."""
    found = _Timex()
    try:
        if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(found)) < 0:
            return None
    except (OSError, AttributeError):
        return None
    if found.status & _STA_UNSYNC:
        return None
    return float(-found.offset) / (1e6 if found.status & _STA_NANO else 1e3)
