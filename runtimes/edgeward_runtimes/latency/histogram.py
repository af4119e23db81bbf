"""A latency histogram that merges without loss.

Base-2 exponential buckets of scale 4: bucket `i` holds latencies in (2^(i/16), 2^((i+1)/16)] seconds, so a
quantile is off by 2.2 % at most (half a bucket). OpenTelemetry (metrics data model, "ExponentialHistogram") and
Prometheus native histograms (schema 4, index i + 1) have the same buckets.

Counts only grow, so for one source the bucket-wise maximum of two reports is the later one, in whatever
order they arrive: `later` is idempotent, commutative and associative. Sums over sources are `merge`.
"""

from collections.abc import Iterable
from math import ceil, log2
from typing import Any, cast

import msgspec
import numpy as np

Counts = np.ndarray[Any, np.dtype[np.uint64]]

SCALE = 4
BUCKETS_PER_OCTAVE = 1 << SCALE
LOWEST_OCTAVE, HIGHEST_OCTAVE = -24, 10  # 60 ns to 1,024 s; what lies outside counts in the edge bucket
BUCKET_COUNT = (HIGHEST_OCTAVE - LOWEST_OCTAVE) * BUCKETS_PER_OCTAVE
OFFSET = LOWEST_OCTAVE * BUCKETS_PER_OCTAVE  # the OpenTelemetry index of our bucket 0
_FIRST = -1 - OFFSET
_LOWEST_NS = int(2.0**LOWEST_OCTAVE * 1e9)  # counting must cost next to nothing: no call but two, no clamp but one


def bucket_of(elapsed_ns: int) -> int:
    """Our bucket for a latency in nanoseconds (≥ 0)."""
    if elapsed_ns <= _LOWEST_NS:
        return 0
    bucket = ceil(log2(elapsed_ns * 1e-9) * BUCKETS_PER_OCTAVE) + _FIRST
    return bucket if bucket < BUCKET_COUNT else BUCKET_COUNT - 1


def upper_bound_s(bucket: int) -> float:
    """The largest latency, in seconds, that our bucket holds."""
    return cast(float, 2.0 ** ((bucket + OFFSET + 1) / BUCKETS_PER_OCTAVE))


class Histogram:
    """Counts by bucket, `uint64[BUCKET_COUNT]`, and the sum of latencies in nanoseconds. Immutable."""

    __slots__ = ("counts", "sum_ns")

    def __init__(self, counts: Counts | None = None, sum_ns: int = 0) -> None:
        self.counts = np.zeros(BUCKET_COUNT, np.uint64) if counts is None else counts
        self.sum_ns = sum_ns

    @classmethod
    def of(cls, latencies_ns: Iterable[int]) -> "Histogram":
        """Count latencies given in nanoseconds."""
        counts = np.zeros(BUCKET_COUNT, np.uint64)
        total = 0
        for latency in latencies_ns:
            counts[bucket_of(latency)] += np.uint64(1)
            total += latency
        return cls(counts, total)

    @property
    def count(self) -> int:
        """How many latencies were counted."""
        return int(self.counts.sum())

    def quantile_ms(self, quantile: float) -> float | None:
        """The latency in milliseconds that `quantile` (0 to 1) of all stay within; None when empty.

        It is the geometric middle of the bucket holding the ceil(quantile * count)-th smallest latency.
        """
        count = self.count
        if count == 0:
            return None
        rank = max(1, ceil(quantile * count))
        bucket = int(np.searchsorted(np.cumsum(self.counts), rank))
        return cast(float, 1e3 * 2.0 ** ((bucket + OFFSET + 0.5) / BUCKETS_PER_OCTAVE))

    def merge(self, other: "Histogram") -> "Histogram":
        """Add the counts of another source."""
        return Histogram(self.counts + other.counts, self.sum_ns + other.sum_ns)

    def later(self, other: "Histogram") -> "Histogram":
        """Of two cumulative reports from one source, the later one (bucket-wise maximum)."""
        return Histogram(np.maximum(self.counts, other.counts), max(self.sum_ns, other.sum_ns))

    def since(self, earlier: "Histogram") -> "Histogram":
        """What was counted after `earlier`, a previous state of the same source."""
        counts = np.where(self.counts > earlier.counts, self.counts - earlier.counts, np.uint64(0))
        return Histogram(counts, max(0, self.sum_ns - earlier.sum_ns))

    def encode(self) -> bytes:
        """Pack as msgpack `[sum_ns, gap, count, gap, count, …]`: empty buckets cost nothing."""
        flat = [self.sum_ns]
        previous = -1
        for bucket in np.flatnonzero(self.counts).tolist():
            flat += (bucket - previous - 1, int(self.counts[bucket]))
            previous = bucket
        return msgspec.msgpack.encode(flat)

    @classmethod
    def decode(cls, packed: bytes) -> "Histogram":
        """Unpack; raises ValueError on anything that `encode` does not write."""
        try:
            sum_ns, *pairs = msgspec.msgpack.decode(packed, type=list[int])
        except (msgspec.MsgspecError, ValueError) as error:
            raise ValueError(f"not a packed histogram: {error}") from None
        gaps, numbers = pairs[0::2], pairs[1::2]
        if len(gaps) != len(numbers) or sum_ns < 0 or min(pairs, default=0) < 0 or sum_ns >= 2**63:
            raise ValueError("not a packed histogram: negative or unpaired numbers")
        counts = np.zeros(BUCKET_COUNT, np.uint64)
        bucket = -1
        for gap, number in zip(gaps, numbers, strict=True):
            bucket += gap + 1
            if bucket >= BUCKET_COUNT or number >= 2**63:
                raise ValueError(f"not a packed histogram: bucket {bucket} or count {number} out of range")
            counts[bucket] = number
        return cls(counts, sum_ns)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        return self.sum_ns == other.sum_ns and bool(np.array_equal(self.counts, other.counts))

    __hash__: Any = None

    def __repr__(self) -> str:
        return f"<Histogram of {self.count}, p50 {self.quantile_ms(0.5)} ms, p99 {self.quantile_ms(0.99)} ms>"
