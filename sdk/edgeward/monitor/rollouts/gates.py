"""Does the new release keep its gates? Shares of the new release's calls, judged against the old release's. Pure.

Both the p95 and the error gate say "at most this share of calls": p95=1.10 that 5 % of the calls may take longer than
1.10 times what the old release's p95 was; errors=0.1% that a share of calls greater by 0.1 % may fail. So one test
serves both:

- To pass, a share must be kept by enough calls: those that were asked for, and as many as it takes to see the share
  at all (one call in a thousand needs a thousand calls).
- To fail before that, it must be exceeded by more than chance explains: three standard deviations of the binomial
  distribution, and five calls at least. Gates are judged every second, and an odd call must not end a rollout.

The old release's calls are weighed so that each device has the same part in them as in the new release's: a slow
device that happened to be busier must not make the release look slow.
"""

from collections.abc import Sequence
from math import ceil, sqrt
from typing import Any, Literal

import numpy as np
from msgspec import Struct, field

from edgeward.monitor.rollouts.terms import Gates
from edgeward_runtimes.latency.histogram import BUCKET_COUNT, BUCKETS_PER_OCTAVE, OFFSET, Histogram

_QUANTILE = 0.95
_DEVIATIONS = 3.0
_ROUNDING = 1e-6  # of the calls: what interpolation may be off by
_AT_LEAST = 5  # calls beyond a limit, before one is called exceeded early
Weights = np.ndarray[Any, np.dtype[np.float64]]


class Calls(Struct, frozen=True):
    """Calls of one release on one device: those that answered, and those that failed."""

    histogram: Histogram = field(default_factory=Histogram)
    errors: int = 0

    @property
    def count(self) -> int:
        """All of them."""
        return self.histogram.count + self.errors


class Compared(Struct, frozen=True):
    """One device: what the old release did there, what the new one does, and how far its data drift (None: unknown)."""

    old: Calls
    new: Calls
    drift: float | None = None


class Verdict(Struct, frozen=True):
    """Whether gates are kept, exceeded, or cannot be judged yet; and why, for people."""

    state: Literal["kept", "exceeded", "unknown"]
    reason: str = ""


def judge(gates: Gates, devices: Sequence[Compared], samples: int) -> Verdict:
    """Judge devices that run the new release; `samples` is how many calls at least it takes to pass."""
    verdicts = [_p95(gates.p95, devices, samples), _errors(gates.errors, devices, samples)]
    verdicts.append(_drift(gates.drift, devices))
    for state in ("exceeded", "unknown"):
        for verdict in verdicts:
            if verdict.state == state:
                return verdict
    return Verdict("kept")


def p95_ms(devices: Sequence[Compared]) -> tuple[float | None, float | None]:
    """The old release's p95 latency, its devices weighed as above, and the new one's, in milliseconds."""
    compared = [each for each in devices if each.old.histogram.count and each.new.histogram.count]
    if not compared:
        return None, None
    return 1e3 * _seconds_at(_weighed(compared), _QUANTILE), 1e3 * _seconds_at(_merged(compared), _QUANTILE)


def _p95(limit: float | None, devices: Sequence[Compared], samples: int) -> Verdict:
    compared = [each for each in devices if each.old.histogram.count]
    if limit is None or (devices and not compared):
        return Verdict("kept")  # a first release has nothing to be compared with
    new = _merged(compared)
    count = float(new.sum())
    if count == 0:
        return Verdict("unknown", f"0 of {samples} predictions that p95 takes")
    before = _seconds_at(_weighed(compared), _QUANTILE)
    slow = count - _within(new, limit * before)
    now = _seconds_at(new, _QUANTILE)
    what = f"p95 is {now * 1e3:.3g} ms, {now / before:.2f} of the old release's {before * 1e3:.3g} ms, over {count:.0f}"
    return _share(slow, count, 1 - _QUANTILE, samples, "p95", f"{what} predictions; the gate is {limit:.2f}")


def _errors(limit: float | None, devices: Sequence[Compared], samples: int) -> Verdict:
    if limit is None:
        return Verdict("kept")
    count = sum(each.new.count for each in devices)
    if count == 0:
        return Verdict("unknown", f"0 of {samples} calls that errors take")
    failed = sum(each.new.errors for each in devices)
    before = sum(each.new.count * each.old.errors / each.old.count for each in devices if each.old.count) / count
    what = f"{failed} of {count} calls failed ({failed / count:.2%}); the old release's share was {before:.2%}"
    needed = max(samples, ceil(1 / limit) if limit else 0)
    return _share(failed, count, before + limit, needed, "errors", f"{what}, the gate is {limit:.2%} more")


def _drift(limit: float | None, devices: Sequence[Compared]) -> Verdict:
    if limit is None:
        return Verdict("kept")
    scores = [each.drift for each in devices if each.drift is not None]
    if not scores:
        return Verdict("unknown", "no device has told a drift score of it")
    if max(scores) > limit:
        return Verdict("exceeded", f"the drift score is {max(scores):.3g} on a device; the gate is {limit:g}")
    return Verdict("kept")


def _share(beyond: float, count: float, allowed: float, needed: int, name: str, what: str) -> Verdict:
    """Is a share exceeded by more than chance explains, or by enough calls to say so without that?"""
    chance = allowed * count + _DEVIATIONS * sqrt(count * allowed * max(0.0, 1 - allowed))
    if beyond > chance and beyond >= _AT_LEAST:
        return Verdict("exceeded", what)
    if count < needed:
        return Verdict("unknown", f"{count:.0f} of {needed} calls that {name} takes")
    return Verdict("exceeded", what) if beyond > (allowed + _ROUNDING) * count else Verdict("kept")


def _merged(devices: Sequence[Compared]) -> Weights:
    total = np.zeros(BUCKET_COUNT)
    for each in devices:
        total += each.new.histogram.counts
    return total


def _weighed(devices: Sequence[Compared]) -> Weights:
    """The old release's histograms, each device's in the part that it has in the new one's calls."""
    total = np.zeros(BUCKET_COUNT)
    for each in devices:
        total += each.old.histogram.counts * (each.new.histogram.count / each.old.histogram.count)
    return total


def _seconds_at(counts: Weights, quantile: float) -> float:
    """The latency that a share of the calls stays within; inside a bucket the scale is logarithmic."""
    cumulative = np.cumsum(counts)
    rank = quantile * cumulative[-1]
    bucket = int(np.searchsorted(cumulative, rank))
    inside = 1.0 - (cumulative[bucket] - rank) / counts[bucket]
    return float(2.0 ** ((bucket + OFFSET + inside) / BUCKETS_PER_OCTAVE))


def _within(counts: Weights, seconds: float) -> float:
    """How many calls stayed within a latency; the inverse of the above."""
    position = min(max(np.log2(seconds) * BUCKETS_PER_OCTAVE - OFFSET, 0.0), float(BUCKET_COUNT))
    bucket = min(int(position), BUCKET_COUNT - 1)
    return float(counts[:bucket].sum() + counts[bucket] * (position - bucket))
