"""What a trial is and what came of it, as data; and which of many are worth having. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from edgeward_runtimes.manifest import Quantization


class Limits(Struct, frozen=True):
    """What a point of the front must keep: the metric's drop, bytes and milliseconds; None where there is no limit."""

    max_drop: float
    max_size: int | None = None
    max_latency: float | None = None


class Result(Struct, frozen=True):
    """What a trial came to.

    Attributes:
        place: Its number; trials are told apart by it.
        recipe: `{"step": [...], "variants": [ID], "mixed": {...}}`: all that is needed to do it again.
        drop: How much worse it is than the source on the samples held back.
        bound: The drop that it should not exceed, margin for the number of samples included.
        latency_ms: Median of one prediction at batch size 1, on this machine or on the device.
        files: Names of the artifact's files in the trial's folder, the one to open first.
        reason: Why there is no artifact.
    """

    place: int
    recipe: dict[str, Any]
    seconds: float = 0.0
    size_bytes: int | None = None
    drop: float | None = None
    bound: float | None = None
    latency_ms: float | None = None
    quantization: Quantization | None = None
    files: tuple[str, ...] = ()
    reason: str | None = None

    @property
    def variant(self) -> str:
        """The variant's id."""
        return str(self.recipe["variants"][0])

    @property
    def methods(self) -> tuple[str, ...]:
        """The steps before the variant is made, by method."""
        return tuple(str(step["method"]) for step in self.recipe.get("step", ()))

    @property
    def title(self) -> str:
        """For people: steps and variant, and how the mixed precision was searched."""
        mixed = self.recipe.get("mixed") or {}
        said = [str(mixed[key]) for key in ("activations", "share") if key in mixed]
        return " + ".join([*self.methods, self.variant]) + (f" ({', '.join(said)})" if said else "")


def within(result: Result, limits: Limits) -> bool:
    """Whether a trial keeps the limits on the samples held back."""
    return _excess(result, limits) == 0


def front(results: Iterable[Result]) -> list[Result]:
    """The trials than which none is at least as good in drop, size and latency and better in one; smallest first."""
    measured = [each for each in results if each.reason is None]
    kept = [each for each in measured if not any(_beats(other, each) for other in measured)]
    return sorted(kept, key=lambda each: (each.size_bytes or 0, each.place))


def nearest(results: Sequence[Result], limits: Limits) -> Result | None:
    """The trial that misses the limits by the least, as a share of each; None when none gave an artifact."""
    measured = [each for each in results if each.reason is None]
    return min(measured, key=lambda each: (_excess(each, limits), each.place), default=None)


def _beats(one: Result, other: Result) -> bool:
    """A tie goes to the earlier one."""
    mine, theirs = _values(one), _values(other)
    if any(a > b for a, b in zip(mine, theirs, strict=True)):
        return False
    return mine != theirs or one.place < other.place


def _values(result: Result) -> tuple[float, float, float]:
    """Drop, size and latency, the latter to two digits: it is never twice the same."""
    latency = float(f"{result.latency_ms:.2g}") if result.latency_ms is not None else 0.0
    return (result.drop or 0.0, float(result.size_bytes or 0), latency)


def _excess(result: Result, limits: Limits) -> float:
    """By how much of them limits are exceeded, summed."""
    if result.reason is not None or result.bound is None or result.size_bytes is None:
        return float("inf")
    pairs = (
        (result.bound, limits.max_drop),
        (float(result.size_bytes), limits.max_size),
        (result.latency_ms or 0.0, limits.max_latency),
    )
    return sum(max(0.0, (came - limit) / max(limit, 1e-9)) for came, limit in pairs if limit is not None)
