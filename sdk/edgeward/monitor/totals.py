"""Cumulative totals as ingest handles them: the histogram as it is packed, by the buckets that are not empty.

On the wire and in the store they are what `latency.counters` and `latency.histogram` say, and the rules are theirs: of
two reports of the same totals the larger is kept, bucket by bucket. Of 544 buckets a report has some twenty that are
not empty, mostly the same as those of the report before, and ingest merges tens of thousands of reports a second. So
totals stay two lists, and where both have the same buckets, which is nearly always, arithmetic is one pass over the
counts.
"""

from collections.abc import Mapping
from itertools import accumulate
from operator import add, ge, sub

import msgspec
import numpy as np
from msgspec import Struct

from edgeward_runtimes.latency.counters import Counters
from edgeward_runtimes.latency.histogram import BUCKET_COUNT

LARGEST_COUNT = 2**63 - 1  # of a database

_ROWS = msgspec.msgpack.Decoder(list[tuple[str, str, int, bytes]])
_NUMBERS = msgspec.msgpack.Decoder(list[int])


class Totals(Struct, frozen=True, gc=False):
    """Errors, the sum of latencies in nanoseconds, and predictions by bucket.

    Attributes:
        gaps: Between the buckets, as `Histogram.encode` has them: how many are left out before each.
        counts: Predictions in each of these buckets; some may be 0, so that buckets stay the same.
        packed: The histogram as it was read, if it was.
    """

    errors: int = 0
    sum_ns: int = 0
    gaps: list[int] = []
    counts: list[int] = []
    packed: bytes = b""

    @classmethod
    def of(cls, errors: int, sum_ns: int, by_bucket: Mapping[int, int]) -> "Totals":
        """From predictions by bucket."""
        buckets = sorted(by_bucket)
        before = [-1, *buckets]
        gaps = [bucket - earlier - 1 for bucket, earlier in zip(buckets, before, strict=False)]
        return cls(errors, sum_ns, gaps, [by_bucket[bucket] for bucket in buckets])

    @property
    def by_bucket(self) -> dict[int, int]:
        """Predictions by bucket."""
        return dict(zip(_buckets(self.gaps), self.counts, strict=True))

    @property
    def predictions(self) -> int:
        """Predictions that returned an answer."""
        return sum(self.counts)

    @property
    def is_nothing(self) -> bool:
        """Whether nothing was counted."""
        return not (self.errors or self.sum_ns or any(self.counts))

    def since(self, earlier: "Totals") -> "Totals":
        """What of these was counted after `earlier`; nothing is less than nothing."""
        errors, sum_ns = max(0, self.errors - earlier.errors), max(0, self.sum_ns - earlier.sum_ns)
        if self.gaps == earlier.gaps and all(map(ge, self.counts, earlier.counts)):
            return Totals(errors, sum_ns, self.gaps, list(map(sub, self.counts, earlier.counts)))
        if not earlier.gaps:
            return Totals(errors, sum_ns, self.gaps, self.counts)
        before = earlier.by_bucket
        grown = {bucket: max(0, count - before.get(bucket, 0)) for bucket, count in self.by_bucket.items()}
        return Totals.of(errors, sum_ns, grown)

    def merge(self, other: "Totals") -> "Totals":
        """Add what another counted."""
        errors, sum_ns = self.errors + other.errors, self.sum_ns + other.sum_ns
        if self.gaps == other.gaps:
            return Totals(errors, sum_ns, self.gaps, list(map(add, self.counts, other.counts)))
        if not self.gaps:
            return Totals(errors, sum_ns, other.gaps, other.counts)
        counts = self.by_bucket
        for bucket, count in other.by_bucket.items():
            counts[bucket] = counts.get(bucket, 0) + count
        return Totals.of(errors, sum_ns, counts)

    def later(self, other: "Totals") -> "Totals":
        """Of two reports of the same totals the later one: the larger, bucket by bucket."""
        return self.plus(other.since(self), other)

    def plus(self, grown: "Totals", other: "Totals") -> "Totals":
        """What `later` gives, where it is known that `other.since(self)` is `grown`.

        Mostly that is `other`, as it was read: when nothing in it is less than here.
        """
        is_less = other.errors < self.errors or other.sum_ns < self.sum_ns
        if not is_less and self.predictions + grown.predictions == other.predictions:
            return other
        return self.merge(grown)

    def check_countable(self) -> int:
        """Raise ValueError when a database cannot hold it: reports that fit may not together. Gives the predictions."""
        predictions = sum(self.counts)
        if self.errors > LARGEST_COUNT or self.sum_ns > LARGEST_COUNT or predictions > LARGEST_COUNT:
            raise ValueError(f"counts beyond {LARGEST_COUNT}")
        return predictions

    def encode(self) -> bytes:
        """The histogram so that `Histogram.decode` reads it."""
        if self.packed:
            return self.packed
        flat = [self.sum_ns] * (1 + 2 * len(self.gaps))
        flat[1::2], flat[2::2] = self.gaps, self.counts
        return msgspec.msgpack.encode(flat)

    @classmethod
    def decode(cls, errors: int, histogram: bytes) -> "Totals":
        """Read what `encode` or `Histogram.encode` packed. Raises ValueError for anything else."""
        try:
            flat = _NUMBERS.decode(histogram)
        except (msgspec.MsgspecError, ValueError) as error:
            raise ValueError(f"not a packed histogram: {error}") from None
        if len(flat) % 2 == 0 or min(flat) < 0 or max(flat) > LARGEST_COUNT:
            raise ValueError("not a packed histogram: unpaired numbers, or some out of range")
        gaps = flat[1::2]
        if sum(gaps) + len(gaps) > BUCKET_COUNT:
            raise ValueError(f"not a packed histogram: more than {BUCKET_COUNT} buckets")
        return cls(errors, flat[0], gaps, flat[2::2], histogram)


class Reported(Struct, frozen=True, gc=False):
    """The totals of one release in one epoch, as a device reports them."""

    release: str
    epoch: str
    totals: Totals

    @classmethod
    def of(cls, counters: Counters) -> "Reported":
        """The same in this form."""
        found = np.flatnonzero(counters.histogram.counts).tolist()
        counts = {bucket: int(counters.histogram.counts[bucket]) for bucket in found}
        totals = Totals.of(counters.errors, counters.histogram.sum_ns, counts)
        return cls(counters.release, counters.epoch, totals)

    @property
    def predictions(self) -> int:
        """Predictions that returned an answer."""
        return self.totals.predictions


def unpack(content: bytes) -> tuple[Reported, ...]:
    """Read the `counters` metric. Raises ValueError for what is none, or what no database can hold."""
    try:
        rows = _ROWS.decode(content)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ValueError(f"not packed counters: {error}") from None
    reported = []
    for release, epoch, errors, histogram in rows:
        if errors < 0:
            raise ValueError("not packed counters: a count of errors is negative")
        totals = Totals.decode(errors, histogram)
        totals.check_countable()
        reported.append(Reported(release, epoch, totals))
    return tuple(reported)


def _buckets(gaps: list[int]) -> list[int]:
    return list(map(add, accumulate(gaps), range(len(gaps))))
