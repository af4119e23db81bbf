"""The host's side of Sparkplug sessions, as a pure state machine: messages in, updates and requests out.

Rules kept here (specification 3.0, sections 5 and 6):

- A birth names metrics and gives their aliases; data are read by them. Data of a node or model whose birth was not seen
  (we have just started) ask for a rebirth.
- seq rises by one, modulo 256, over a node's births and data; a gap means loss, and asks for a rebirth.
- An NDEATH counts only with the bdSeq of the latest NBIRTH: a will of an older connection may come late.
- What a node kept while nobody listened comes as history (is_historical), each value with its own time. It says how
  things were, not how they are, so it goes into the series alone.
- A node's births are over when it tells anything else: models that were not among them are gone.
- A rebirth is asked for once in a while, not once a message.
- Whatever cannot be understood is counted and dropped; nothing that is received raises.
- A broker has other nodes than ours: of a message only what the store can hold is kept, by name, type and size.

Several workers share the data of a fleet: births and deaths come to all of them, so that each knows the aliases, and
one alone tells the store of them; data come to any. None of them sees all of a node's seq, so none judges it: instead,
every node is asked for a rebirth now and then (`ingest`).
"""

import re
import zlib
from collections import deque
from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from edgeward.monitor import fitting
from edgeward.monitor.clocks import SkewEstimate
from edgeward.monitor.totals import LARGEST_COUNT
from edgeward.monitor.updates import (
    AnswerSeen,
    Dropped,
    HistorySeen,
    LogsSeen,
    ModelDied,
    ModelsAre,
    ModelSeen,
    NodeDied,
    NodeSeen,
    RebirthWanted,
    Update,
)
from edgeward_runtimes.sparkplug import codec, metrics, requests
from edgeward_runtimes.sparkplug.codec import Metric, Payload, Value
from edgeward_runtimes.sparkplug.topics import LEVEL_PATTERN, Topic

__all__ = [
    "LARGEST_COUNT",
    "AnswerSeen",
    "Dropped",
    "HistorySeen",
    "HostState",
    "LogsSeen",
    "ModelDied",
    "ModelSeen",
    "ModelsAre",
    "NodeDied",
    "NodeSeen",
    "RebirthWanted",
    "Update",
]

REBIRTH_EVERY_S = 5.0

_LEVEL = re.compile(LEVEL_PATTERN)  # not every broker refuses wildcards in a topic
_LINES_REMEMBERED = 64
_ALIASES_REMEMBERED = 10_000
Aliases = Mapping[int, str]


class _Node(Struct):
    """What is known of one device's session. Equal maps of aliases are one object: a fleet's devices give the same."""

    bd_seq: int | None = None
    last_seq: int = 0
    names: Aliases = {}  # of the node's own metrics, by alias
    models: dict[str, Aliases] = field(default_factory=dict)
    born: bool = False
    births_are_over: bool = True
    skew: SkewEstimate = field(default_factory=SkewEstimate)
    lines: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=_LINES_REMEMBERED))
    rebirth_asked_at: float = float("-inf")


class HostState:
    """All sessions of one host, or of one of several workers of it."""

    def __init__(self, worker: int = 0, workers: int = 1) -> None:
        """Be the worker of this number, from 0 on, of so many."""
        self._worker, self._workers = worker, workers
        self._nodes: dict[tuple[str, str], _Node] = {}
        self._aliases: dict[tuple[tuple[int, str], ...], Aliases] = {}

    def receive(self, topic: str, content: bytes, at: float) -> list[Update]:
        """Take one message as it came from the broker; `at` is Unix seconds."""
        try:
            where = Topic.parse(topic)
            payload = codec.decode(content)
        except ValueError as error:
            return [Dropped(str(error))]
        if where.kind in ("NCMD", "DCMD"):
            return []
        node = self._nodes.get((where.fleet, where.device))
        if node is None or (where.model is not None and where.model not in node.models):
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
        node.models, node.names, node.births_are_over = {}, self._aliases_of(payload), False
        node.skew.add(payload.timestamp, at)
        if not self._is_ours(where):
            return []
        values = fitting.fitting(values, fitting.NODE)
        return [NodeSeen(where.fleet, where.device, at, True, values, node.skew.seconds)]

    def _node_death(self, node: _Node, where: Topic, payload: Payload) -> list[Update]:
        bd_seq = next((metric.value for metric in payload.metrics if metric.name == metrics.BDSEQ), None)
        if node.bd_seq is not None and bd_seq != node.bd_seq:
            return []  # the will of a connection that has been replaced
        node.born = False
        return [NodeDied(where.fleet, where.device)] if self._is_ours(where) else []

    def _numbered(self, node: _Node, where: Topic, payload: Payload, at: float) -> list[Update]:
        """NDATA, DBIRTH, DDATA or DDEATH."""
        if payload.seq is None:
            return [Dropped(f"{where.kind} of {where.fleet}/{where.device} without seq")]
        if not node.born:
            return self._ask_for_rebirth(node, where, at)
        expected = (node.last_seq + 1) % 256
        node.last_seq = payload.seq
        updates: list[Update] = []
        if payload.seq != expected and self._workers == 1:
            updates += self._ask_for_rebirth(node, where, at)
        if where.model is None:
            updates += self._node_data(node, where, payload, at)
        else:
            updates += self._model_content(node, where, where.model, payload, at)
        if not node.births_are_over and where.kind != "DBIRTH" and self._is_ours(where):
            node.births_are_over = True
            updates.append(ModelsAre(where.fleet, where.device, frozenset(node.models)))
        return updates

    def _node_data(self, node: _Node, where: Topic, payload: Payload, at: float) -> list[Update]:
        node.skew.add(payload.timestamp, at)
        told = _by_name(payload.metrics, node.names)
        values = fitting.fitting(told, fitting.NODE)
        updates: list[Update] = [NodeSeen(where.fleet, where.device, at, False, values, node.skew.seconds)]
        updates += _history(node, where, payload, at)
        updates += _logs(node, where, payload, at)
        if metrics.ANSWER in told:
            updates += _answers(node, where, payload, at)
        return updates

    def _model_content(self, node: _Node, where: Topic, model: str, payload: Payload, at: float) -> list[Update]:
        fleet, device = where.fleet, where.device
        if where.kind == "DDEATH":
            node.models.pop(model, None)
            return [ModelDied(fleet, device, model, at)] if self._is_ours(where) else []
        if where.kind == "DBIRTH":
            node.models[model] = self._aliases_of(payload)
            if not self._is_ours(where):
                return []
        if model not in node.models:
            return self._ask_for_rebirth(node, where, at)
        values = _by_name(payload.metrics, node.models[model])
        try:
            totals = fitting.totals_of(values.pop(metrics.COUNTERS, None))
        except ValueError as error:
            return [Dropped(f"{fleet}/{device}/{model}: {error}")]
        return [ModelSeen(fleet, device, model, at, fitting.fitting(values, fitting.MODEL), totals)]

    def _ask_for_rebirth(self, node: _Node, where: Topic, at: float) -> list[Update]:
        if at - node.rebirth_asked_at < REBIRTH_EVERY_S:
            return []
        node.rebirth_asked_at = at
        return [RebirthWanted(where.fleet, where.device)]

    def _is_ours(self, where: Topic) -> bool:
        """Whether this worker is the one that tells the store of the device's births and deaths."""
        return (
            self._workers == 1 or zlib.crc32(f"{where.fleet}/{where.device}".encode()) % self._workers == self._worker
        )

    def _aliases_of(self, birth: Payload) -> Aliases:
        given = tuple((each.alias, each.name) for each in birth.metrics if each.alias is not None and each.name)
        if len(self._aliases) > _ALIASES_REMEMBERED:
            self._aliases.clear()
        return self._aliases.setdefault(given, dict(given))


def _history(node: _Node, where: Topic, payload: Payload, at: float) -> list[Update]:
    """The health that a node tells afterwards, moment by moment."""
    by_time: dict[float, list[Metric]] = {}
    for metric in payload.metrics:
        if metric.is_historical:
            by_time.setdefault(_time_of(metric, payload, node, at), []).append(metric)
    told = {
        moment: fitting.fitting(_by_name(found, node.names, is_historical=True), fitting.HISTORY)
        for moment, found in by_time.items()
    }
    return [
        HistorySeen(where.fleet, where.device, moment, told[moment])
        for moment in sorted(told)
        if told[moment] and moment >= 0
    ]


def _logs(node: _Node, where: Topic, payload: Payload, at: float) -> list[Update]:
    """Lines that were not told before: history may come twice."""
    lines = []
    for metric in _named(payload, node.names, metrics.LOGS):
        line = fitting.log_line(_time_of(metric, payload, node, at), metric.value)
        told = (metric.timestamp or 0, str(metric.value))
        if line is not None and told not in node.lines:
            node.lines.append(told)
            lines.append(line)
    return [LogsSeen(where.fleet, where.device, tuple(lines))] if lines else []


def _answers(node: _Node, where: Topic, payload: Payload, at: float) -> list[Update]:
    updates: list[Update] = []
    for metric in _named(payload, node.names, metrics.ANSWER):
        if metric.value is None:
            continue  # there is none
        try:
            answer = requests.decode_answer(metric.value if isinstance(metric.value, bytes) else b"")
        except ValueError as error:
            updates.append(Dropped(f"{where.fleet}/{where.device}: not an answer: {error}"))
        else:
            updates.append(AnswerSeen(where.fleet, where.device, at, answer))
    return updates


def _time_of(metric: Metric, payload: Payload, node: _Node, at: float) -> float:
    """When a value was so, by our clock; no clock may put it into the future."""
    told = metric.timestamp or payload.timestamp
    return at if told is None else min(at, told / 1000 - (node.skew.seconds or 0.0))


def _named(payload: Payload, names: Aliases, name: str) -> list[Metric]:
    return [each for each in payload.metrics if name == (each.name or names.get(_alias(each)))]


def _by_name(found: Iterable[Metric], names: Aliases, *, is_historical: bool = False) -> dict[str, Value]:
    """Values by metric name, those of now or those of earlier; what has an alias that no birth gave is left out."""
    values: dict[str, Value] = {}
    for metric in found:
        if metric.is_historical == is_historical:
            name = metric.name or names.get(_alias(metric))
            if name:
                values[name] = metric.value
    return values


def _alias(metric: Metric) -> int:
    return -1 if metric.alias is None else metric.alias
