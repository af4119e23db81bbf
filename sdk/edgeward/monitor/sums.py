"""Sums of a latency series' rows: exact, and never more than a database can hold."""

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from edgeward_runtimes.latency.histogram import BUCKET_COUNT, Histogram

LARGEST = 2**63 - 1  # of a database; what is more is a device's fault, and counts as this

_unpack = msgspec.msgpack.Decoder(list[int]).decode


class LatencySum:
    """Predictions of several rows together. Python's integers: numpy's would begin at 0 again."""

    __slots__ = ("counts", "errors", "predictions", "sum_ns")

    def __init__(self) -> None:
        self.predictions, self.errors, self.sum_ns = 0, 0, 0
        self.counts: dict[int, int] = {}

    def add(self, predictions: int, errors: int, packed: bytes) -> None:
        """Add one row; its histogram is as `Histogram.encode` packs it."""
        numbers = iter(_unpack(packed))
        self.predictions += predictions
        self.errors += errors
        self.sum_ns += next(numbers)
        counts, bucket = self.counts, -1
        for gap in numbers:
            bucket += gap + 1
            counts[bucket] = counts.get(bucket, 0) + next(numbers)

    def columns(self) -> dict[str, Any]:
        """What a row of a latency series holds beside its key."""
        totals = {"predictions": min(self.predictions, LARGEST), "errors": min(self.errors, LARGEST)}
        return {**totals, "histogram": msgspec.msgpack.encode(list(self._numbers()))}

    @property
    def histogram(self) -> Histogram:
        """The latencies."""
        counts = np.zeros(BUCKET_COUNT, np.uint64)
        counts[list(self.counts)] = [min(count, LARGEST) for count in self.counts.values()]
        return Histogram(counts, self.sum_ns)

    def _numbers(self) -> Iterator[int]:
        yield min(self.sum_ns, LARGEST)
        previous = -1
        for bucket in sorted(self.counts):
            yield bucket - previous - 1
            yield min(self.counts[bucket], LARGEST)
            previous = bucket
