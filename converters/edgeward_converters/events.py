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


Event = Started | Finished
Progress = Callable[[Event], None]


def unheard(event: Event) -> None:
    """Where nobody listens."""
