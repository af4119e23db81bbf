"""What a conversion tells while it runs; the command line makes progress rows of it."""

from collections.abc import Callable

from msgspec import Struct

from edgeward_converters.report import Outcome


class Started(Struct, frozen=True):
    """A step began. `variant` is None for what concerns the source; `step` is a verb: `export`, `quantize` …"""

    variant: str | None
    step: str


class Finished(Struct, frozen=True):
    """A variant is through, kept or not."""

    outcome: Outcome


class Stepping(Struct, frozen=True):
    """A recipe's step is under way: what it does, and how much of that is done, 0 to 1."""

    method: str
    what: str
    done: float


Event = Started | Stepping | Finished
Progress = Callable[[Event], None]


def unheard(event: Event) -> None:
    """Where nobody listens."""
