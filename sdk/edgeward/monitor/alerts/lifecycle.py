"""One alert from pending to resolved, as a pure state machine; what it looks at is a zone and a clock.

    (none) ──bad──▶ pending ──bad for long enough──▶ firing ──good for long enough──▶ resolved
       ▲               │
       └── not bad ────┘

- Bad is at or above the threshold, good is below the level for resolving; between them nothing changes for the better
  (hysteresis): a pending alert is forgotten there, a firing one stays.
- Unknown (nothing was measured, or nobody can be asked) changes nothing at all.
- While held, an alert becomes pending and may be forgotten, but does not fire: something larger fires in its stead.
- A time that lies in the future, because the clock was set back, counts as now.
"""

from enum import Enum

from msgspec import Struct
from msgspec.structs import replace


class Zone(Enum):
    """Where a value lies."""

    BAD = "bad"
    BETWEEN = "between"
    GOOD = "good"
    UNKNOWN = "unknown"


class Timing(Struct, frozen=True):
    """For how many seconds it must be bad to fire, and good to be resolved."""

    for_s: float
    resolve_after_s: float


class Status(Struct, frozen=True):
    """Where an alert stands. Times are Unix seconds.

    Attributes:
        since: When its condition began.
        fired_at: None while pending.
        clear_since: From when on the condition has been gone without a break, while firing.
        resolved_at: None until then; it is the end.
    """

    since: float
    fired_at: float | None = None
    clear_since: float | None = None
    resolved_at: float | None = None

    @property
    def state(self) -> str:
        """`pending`, `firing` or `resolved`."""
        if self.fired_at is None:
            return "pending"
        return "firing" if self.resolved_at is None else "resolved"


def zone_of(value: float | None, threshold: float, resolve: float) -> Zone:
    """Where a value lies; None was not measured."""
    if value is None:
        return Zone.UNKNOWN
    if value >= threshold:
        return Zone.BAD
    return Zone.GOOD if value < resolve else Zone.BETWEEN


def step(before: Status | None, zone: Zone, now: float, timing: Timing, *, held: bool = False) -> Status | None:
    """The alert after one more look; None is no alert. What is resolved begins anew, as another alert."""
    if zone is Zone.UNKNOWN:
        return before
    if before is None or before.resolved_at is not None:
        return _pending(Status(now), now, timing, held) if zone is Zone.BAD else None
    if before.fired_at is None:
        return _pending(before, now, timing, held) if zone is Zone.BAD else None
    return _firing(before, zone, now, timing)


def _pending(before: Status, now: float, timing: Timing, held: bool) -> Status:
    status = replace(before, since=min(before.since, now))
    lasted = now - status.since >= timing.for_s
    return replace(status, fired_at=now) if lasted and not held else status


def _firing(before: Status, zone: Zone, now: float, timing: Timing) -> Status:
    if zone is not Zone.GOOD:
        return replace(before, clear_since=None)
    clear_since = now if before.clear_since is None else min(before.clear_since, now)
    resolved = now - clear_since >= timing.resolve_after_s
    return replace(before, clear_since=clear_since, resolved_at=now if resolved else None)
