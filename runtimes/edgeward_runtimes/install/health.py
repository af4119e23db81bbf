"""Is a new release as healthy as the one it replaced? (pure)

After going live a release is watched for a window. It is out of bounds when more of its predictions fail than the old
release's did, or more of them are slow. Both are shares, and a share of few predictions says little: what must exceed
the bound is the lower end of its Wilson score interval (E. B. Wilson, "Probable inference, the law of succession, and
statistical inference", JASA 22, 1927), so a single unlucky call of a hundred takes no release back.
"""

from math import sqrt
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct

from edgeward_runtimes.errors import ConfigError

if TYPE_CHECKING:
    from edgeward_runtimes.latency.counters import Counters
    from edgeward_runtimes.latency.histogram import Histogram

_Z = 3.0  # standard deviations: readings are judged again and again, and each has its chance to be wrong
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_SLOWEST = 0.05  # what is slower than the 95th percentile


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked of a release.

    Attributes:
        window_s: For how many seconds after going live it is watched.
        errors: By how much its share of failed predictions may exceed the old release's.
        p95: How many times the old release's 95th percentile of latency its own may be.
        samples: Predictions below which nothing is judged.
    """

    window_s: Annotated[float, Meta(gt=0, le=30 * 86_400)] = 600.0
    errors: Annotated[float, Meta(ge=0, le=1)] = 0.01
    p95: Annotated[float, Meta(ge=1, le=1000)] = 1.5
    samples: Annotated[int, Meta(ge=1, le=1_000_000)] = 100

    def __str__(self) -> str:
        """As `parse` reads it."""
        return f"{self.window_s!r}s,errors={self.errors!r},p95={self.p95!r},samples={self.samples}"


def parse(text: str) -> Limits:
    """Read limits as people write them: `10m`, `1h,errors=1%,p95=1.5,samples=100`. Raises ConfigError."""
    window, *settings = text.split(",")
    named = dict(setting.partition("=")[::2] for setting in settings)
    try:
        values: dict[str, Any] = {name: _number(value) for name, value in named.items()}
        values["window_s"] = float(window[:-1]) * _UNITS[window[-1:]]
        if "samples" in values:
            values["samples"] = int(values["samples"])
        return msgspec.convert(values, Limits)
    except (KeyError, ValueError, OverflowError) as error:  # msgspec's are ValueErrors
        reason = str(error) if isinstance(error, msgspec.ValidationError) else "a number or a unit is wrong"
        raise ConfigError(
            f"A health window is written like 10m,errors=1%,p95=1.5,samples=100 (s, m, h or d), not {text!r}: {reason}."
        ) from None


def _number(text: str) -> float:
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)


def judge(limits: Limits, old: "Counters", new: "Counters") -> str | None:
    """Say why the new release is out of bounds, or None. `new` is what was counted since it went live."""
    calls = new.predictions + new.errors
    if calls < limits.samples:
        return None
    allowed = old.errors / max(1, old.predictions + old.errors) + limits.errors
    if at_least(new.errors, calls) > allowed:
        return f"{new.errors} of {calls} predictions failed, {allowed:.1%} are allowed"
    usual = old.histogram.quantile_ms(1 - _SLOWEST) if old.predictions >= limits.samples else None
    if usual is not None and new.predictions >= limits.samples:
        slow = _slower(new.histogram, usual * limits.p95)
        if at_least(slow, new.predictions) > _SLOWEST:
            p95 = new.histogram.quantile_ms(1 - _SLOWEST) or 0.0
            return f"its p95 is {p95:.3g} ms, {limits.p95:g} times the old release's {usual:.3g} ms are allowed"
    return None


def at_least(some: int, all_: int) -> float:
    """The share that `some` of `all_` stand for at least: the lower end of Wilson's interval."""
    if all_ == 0:
        return 0.0
    share, z2 = some / all_, _Z * _Z
    middle = share + z2 / (2 * all_)
    spread = _Z * sqrt(share * (1 - share) / all_ + z2 / (4 * all_ * all_))
    return max(0.0, (middle - spread) / (1 + z2 / all_))


def _slower(histogram: "Histogram", latency_ms: float) -> int:
    """How many latencies were surely longer: those in the buckets above the one that `latency_ms` falls into."""
    from edgeward_runtimes.latency.histogram import bucket_of

    return int(histogram.counts[bucket_of(int(latency_ms * 1e6)) + 1 :].sum())
