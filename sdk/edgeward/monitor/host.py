"""The host's side of Sparkplug sessions, as a pure state machine: messages in, updates and requests out.

Rules kept here (specification 3.0, sections 5 and 6):

- A birth names metrics and gives their aliases; data are read by them. Data of a node or model whose birth was not seen
  (we have just started) ask for a rebirth.
- seq rises by one, modulo 256, over a node's births and data; a gap means loss, and asks for a rebirth.
- An NDEATH counts only with the bdSeq of the latest NBIRTH: a will of an older connection may come late.
- What a node kept while nobody listened comes as history (is_historical), each value with its own time. It says how
  things were, not how they are, so it goes into the series alone.
- A rebirth is asked for once in a while, not once a message.
- Whatever cannot be understood is counted and dropped; nothing that is received raises.
- A broker has other nodes than ours: of a message only what the store can hold is kept, by name, type and size.
"""

import math
import re
from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from edgeward_runtimes.latency import counters
from edgeward_runtimes.latency.counters import Counters
from edgeward_runtimes.latency.histogram import Histogram
from edgeward_runtimes.sparkplug import codec, metrics
from edgeward_runtimes.sparkplug.codec import DataType, Metric, Payload, Value
from edgeward_runtimes.sparkplug.topics import LEVEL_PATTERN, Topic

REBIRTH_EVERY_S = 5.0
LARGEST_COUNT = 2**63 - 1  # of a database

_LONGEST_STRING = 200
_LEVEL = re.compile(LEVEL_PATTERN)  # not every broker refuses wildcards in a topic
_NODE = {**metrics.FACTS, **metrics.HEALTH, metrics.REPORTING_INTERVAL: DataType.DOUBLE}


class NodeSeen(Struct, frozen=True):
    """A device told of itself; `values` are metrics by name. A birth tells all of them."""

    fleet: str
    device: str
    at: float
    is_birth: bool
    values: Mapping[str, Value]


class HistorySeen(Struct, frozen=True):
    """How a device was at some earlier time, `at`; health metrics by name."""

    fleet: str
    device: str
    at: float
    values: Mapping[str, Value]


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
    totals: tuple[Counters, ...]


class ModelDied(Struct, frozen=True):
    """A model is no longer on a device; what it counted stays."""

    fleet: str
    device: str
    model: str
    at: float


class RebirthWanted(Struct, frozen=True):
    """Ask the device to tell everything again."""

    fleet: str
    device: str


class Dropped(Struct, frozen=True):
    """A message was not understood."""

    reason: str


Update = NodeSeen | HistorySeen | NodeDied | ModelSeen | ModelDied | RebirthWanted | Dropped


class _Node(Struct):
    """What is known of one device's session."""

    bd_seq: int | None = None
    last_seq: int | None = None
    names: dict[int, str] = field(default_factory=dict)  # by alias, of the node and all its models
    models: set[str] = field(default_factory=set)
    born: bool = False
    rebirth_asked_at: float = float("-inf")


class HostState:
    """All sessions of one host."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[str, str], _Node] = {}

    def receive(self, topic: str, content: bytes, at: float) -> list[Update]:
        """Take one message as it came from the broker; `at` is Unix seconds."""
        try:
            where = Topic.parse(topic)
            payload = codec.decode(content)
        except ValueError as error:
            return [Dropped(str(error))]
        if where.kind in ("NCMD", "DCMD"):
            return []
        if not all(_LEVEL.fullmatch(level) for level in where if level is not None):
            return [Dropped(f"a topic with a level that is empty, too long or a wildcard: {topic[:200]!r}")]
        node = self._nodes.setdefault((where.fleet, where.device), _Node())
        match where.kind:
            case "NBIRTH":
                return self._node_birth(node, where, payload, at)
            case "NDEATH":
                return self._node_death(node, where, payload)
            case _:
                return self._numbered(node, where, payload, at)

    def _node_birth(self, node: _Node, where: Topic, payload: Payload, at: float) -> list[Update]:
        values = {metric.name: metric.value for metric in payload.metrics if metric.name}
        bd_seq = values.pop(metrics.BDSEQ, None)
        if payload.seq is None or not isinstance(bd_seq, int):
            return [Dropped(f"NBIRTH of {where.fleet}/{where.device} without seq or {metrics.BDSEQ}")]
        node.bd_seq, node.last_seq, node.born = bd_seq, payload.seq, True
        node.models, node.names = set(), _aliases(payload)
        return [NodeSeen(where.fleet, where.device, at, True, _fitting(values, _NODE))]

    def _node_death(self, node: _Node, where: Topic, payload: Payload) -> list[Update]:
        bd_seq = next((metric.value for metric in payload.metrics if metric.name == metrics.BDSEQ), None)
        if node.bd_seq is not None and bd_seq != node.bd_seq:
            return []  # the will of a connection that has been replaced
        node.born = False
        return [NodeDied(where.fleet, where.device)]

    def _numbered(self, node: _Node, where: Topic, payload: Payload, at: float) -> list[Update]:
        """NDATA, DBIRTH, DDATA or DDEATH."""
        if payload.seq is None:
            return [Dropped(f"{where.kind} of {where.fleet}/{where.device} without seq")]
        if not node.born:
            return self._ask_for_rebirth(node, where, at)
        expected = ((node.last_seq or 0) + 1) % 256
        node.last_seq = payload.seq
        requests = [] if payload.seq == expected else self._ask_for_rebirth(node, where, at)
        return [*requests, *self._content(node, where, payload, at)]

    def _content(self, node: _Node, where: Topic, payload: Payload, at: float) -> list[Update]:
        fleet, device, model = where.fleet, where.device, where.model
        if where.kind == "DBIRTH" and model is not None:
            node.models.add(model)
            node.names.update(_aliases(payload))
        values = _by_name([each for each in payload.metrics if not each.is_historical], node.names)
        if model is None:
            seen = NodeSeen(fleet, device, at, False, _fitting(values, _NODE))
            return [seen, *_history(where, payload, node.names, at)]
        if where.kind == "DDEATH":
            node.models.discard(model)
            return [ModelDied(fleet, device, model, at)]
        if model not in node.models:
            return self._ask_for_rebirth(node, where, at)
        try:
            totals = _totals(values.pop(metrics.COUNTERS, None))
        except ValueError as error:
            return [Dropped(f"{fleet}/{device}/{model}: {error}")]
        return [ModelSeen(fleet, device, model, at, _fitting(values, metrics.MODEL), totals)]

    def _ask_for_rebirth(self, node: _Node, where: Topic, at: float) -> list[Update]:
        if at - node.rebirth_asked_at < REBIRTH_EVERY_S:
            return []
        node.rebirth_asked_at = at
        return [RebirthWanted(where.fleet, where.device)]


def is_countable(errors: int, histogram: Histogram) -> bool:
    """Whether counts fit the store. Added up as Python's integers, since numpy's begin at 0 again."""
    predictions = sum(histogram.counts.tolist())
    return bool(max(errors, histogram.sum_ns, predictions) <= LARGEST_COUNT)


def _history(where: Topic, payload: Payload, names: Mapping[int, str], at: float) -> list[Update]:
    """The health that a node tells afterwards, moment by moment; no clock may put it into the future."""
    by_time: dict[int, list[Metric]] = {}
    for metric in payload.metrics:
        if metric.is_historical:
            by_time.setdefault(metric.timestamp or payload.timestamp or int(at * 1000), []).append(metric)
    told = {moment: _fitting(_by_name(found, names), metrics.HEALTH) for moment, found in sorted(by_time.items())}
    return [
        HistorySeen(where.fleet, where.device, min(at, moment / 1000), values)
        for moment, values in told.items()
        if values
    ]


def _totals(packed: Value) -> tuple[Counters, ...]:
    """Read the `counters` metric, if that is what it is; raises ValueError for what the store cannot hold."""
    totals = tuple(counters.unpack(packed)) if isinstance(packed, bytes) else ()
    for each in totals:
        if not all(_fits(part, DataType.STRING) for part in each.key):
            raise ValueError(f"counters of a release or epoch that is no short string: {each.release[:50]!r}")
        if not is_countable(each.errors, each.histogram):
            raise ValueError(f"counters of release {each.release!r} are beyond {LARGEST_COUNT}")
    return totals


def _fitting(values: Mapping[str, Value], datatypes: Mapping[str, DataType]) -> dict[str, Value]:
    """Those values that are of metrics of ours, and of their types."""
    return {name: value for name, value in values.items() if name in datatypes and _fits(value, datatypes[name])}


def _fits(value: Value, datatype: DataType) -> bool:
    match value:
        case None:
            return True
        case bool():  # an int to Python, but no metric of ours
            return False
        case str():
            return datatype is DataType.STRING and len(value) <= _LONGEST_STRING and "\0" not in value
        case int():
            return datatype in (DataType.DOUBLE, DataType.UINT64) and abs(value) <= LARGEST_COUNT
        case float():
            return datatype is DataType.DOUBLE and math.isfinite(value)
        case _:
            return datatype is DataType.BYTES


def _aliases(payload: Payload) -> dict[int, str]:
    return {metric.alias: metric.name for metric in payload.metrics if metric.alias is not None and metric.name}


def _by_name(found: Iterable[Metric], names: Mapping[int, str]) -> dict[str, Value]:
    """Values by metric name; those with an alias that no birth gave are left out."""
    named = ((metric.name or names.get(-1 if metric.alias is None else metric.alias), metric) for metric in found)
    return {name: metric.value for name, metric in named if name}
