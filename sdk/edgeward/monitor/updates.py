"""What the host's state makes of messages, and the store writes: updates about devices and models.

`at` is Unix seconds by our clock: when a message arrived, or for what is told afterwards, when it was so, corrected by
what is known of the device's clock.
"""

from collections.abc import Mapping

from msgspec import Struct

from edgeward.monitor.totals import Reported
from edgeward_runtimes.sparkplug.codec import Value
from edgeward_runtimes.sparkplug.requests import Answer


class NodeSeen(Struct, frozen=True):
    """A device told of itself; `values` are metrics by name. A birth tells all of them.

    `clock_skew_s` is what its clock is ahead of ours, as far as known.
    """

    fleet: str
    device: str
    at: float
    is_birth: bool
    values: Mapping[str, Value]
    clock_skew_s: float | None = None


class HistorySeen(Struct, frozen=True):
    """How a device was at some earlier time, `at`; health metrics by name."""

    fleet: str
    device: str
    at: float
    values: Mapping[str, Value]


class LogLine(Struct, frozen=True):
    """A line of a device's log."""

    at: float
    level: str
    logger: str
    text: str


class LogsSeen(Struct, frozen=True):
    """Lines of a device's log, in the order in which it told them."""

    fleet: str
    device: str
    lines: tuple[LogLine, ...]


class AnswerSeen(Struct, frozen=True):
    """A device answered a request, or a part of it."""

    fleet: str
    device: str
    at: float
    answer: Answer


class NodeDied(Struct, frozen=True):
    """A device went offline."""

    fleet: str
    device: str


class ModelSeen(Struct, frozen=True):
    """A device told of a model; `totals` are its cumulative counters, as far as they were said."""

    fleet: str
    device: str
    model: str
    at: float
    values: Mapping[str, Value]
    totals: tuple[Reported, ...]


class ModelDied(Struct, frozen=True):
    """A model is no longer on a device; what it counted stays."""

    fleet: str
    device: str
    model: str
    at: float


class ModelsAre(Struct, frozen=True):
    """A device has told all its births: these are its models, and no others."""

    fleet: str
    device: str
    models: frozenset[str]


class RebirthWanted(Struct, frozen=True):
    """Ask the device to tell everything again."""

    fleet: str
    device: str


class Dropped(Struct, frozen=True):
    """A message was not understood."""

    reason: str


Update = (
    NodeSeen
    | HistorySeen
    | LogsSeen
    | AnswerSeen
    | NodeDied
    | ModelSeen
    | ModelDied
    | ModelsAre
    | RebirthWanted
    | Dropped
)
