"""Cumulative totals of one model on one device, as they are kept, reported and merged.

A total is kept per release and epoch. Within an epoch it only grows, so the receiver keeps the larger of any two
reports (`later`) and loss, repetition and reordering do no harm. An epoch ends where growth can no longer be
promised: when the device boots (memory-mapped files may be gone) or its store is made anew.
"""

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from edgeward_runtimes.latency.histogram import Histogram

Key = tuple[str, str]  # (release, epoch)


class Counters(Struct, frozen=True):
    """Totals of one release in one epoch; predictions that succeeded are the histogram's count."""

    release: str
    epoch: str
    errors: int
    histogram: Histogram

    @property
    def key(self) -> Key:
        """What the totals belong to."""
        return (self.release, self.epoch)

    @property
    def predictions(self) -> int:
        """Predictions that returned an answer."""
        return self.histogram.count

    def merge(self, other: "Counters") -> "Counters":
        """Add another source's counts of the same release and epoch."""
        return Counters(self.release, self.epoch, self.errors + other.errors, self.histogram.merge(other.histogram))

    def since(self, earlier: "Counters") -> "Counters":
        """What was counted after `earlier`, a previous state of the same source."""
        errors = max(0, self.errors - earlier.errors)
        return Counters(self.release, self.epoch, errors, self.histogram.since(earlier.histogram))

    def later(self, other: "Counters") -> "Counters":
        """Of two reports of the same totals, the later one."""
        return Counters(self.release, self.epoch, max(self.errors, other.errors), self.histogram.later(other.histogram))


def pack(totals: Iterable[Counters]) -> bytes:
    """Encode for the `counters` metric: msgpack `[[release, epoch, errors, histogram], …]`."""
    rows = [(each.release, each.epoch, each.errors, each.histogram.encode()) for each in totals]
    return msgspec.msgpack.encode(rows)


def unpack(content: bytes) -> list[Counters]:
    """Decode the `counters` metric; raises ValueError on anything that `pack` does not write."""
    try:
        rows = msgspec.msgpack.decode(content, type=list[tuple[str, str, int, bytes]])
    except (msgspec.MsgspecError, ValueError) as error:
        raise ValueError(f"not packed counters: {error}") from None
    if any(not 0 <= errors < 2**63 for _, _, errors, _ in rows):
        raise ValueError("not packed counters: a count of errors is out of range")
    return [Counters(release, epoch, errors, Histogram.decode(packed)) for release, epoch, errors, packed in rows]
