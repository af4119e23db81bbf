"""Which devices are to be asked for a rebirth, and when: a fleet that is asked at once would answer at once (pure)."""

import zlib
from collections.abc import Iterable

_A_SECOND = 1000.0
_AT_ONCE = 500
_ROUND_MINUTES = 60

Device = tuple[str, str]  # fleet, device


class Rebirths:
    """Devices that wait to be asked, each once, in the order of wanting it."""

    def __init__(self) -> None:
        self._wanted: dict[Device, None] = {}
        self._room = float(_AT_ONCE)
        self._taken_at = 0.0

    def want(self, devices: Iterable[Device]) -> None:
        """Have these asked."""
        self._wanted.update(dict.fromkeys(devices))

    def take(self, now: float) -> list[Device]:
        """Those to be asked now, `now` being seconds of any clock: 500 at once, and then 1000 a second."""
        self._room = min(_AT_ONCE, self._room + _A_SECOND * max(0.0, now - self._taken_at))
        self._taken_at = now
        due = [device for device, _ in zip(self._wanted, range(int(self._room)), strict=False)]
        for device in due:
            del self._wanted[device]
        self._room -= len(due)
        return due


def in_turn(devices: Iterable[Device], minute: int) -> list[Device]:
    """Those whose turn it is in this minute, if each is asked once in an hour."""
    return [
        device
        for device in devices
        if zlib.crc32("/".join(device).encode()) % _ROUND_MINUTES == minute % _ROUND_MINUTES
    ]
