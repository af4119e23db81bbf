"""A batch of updates as rows: what the store has to write of them, each row once (pure).

Of a device's values the later wins, in the order of the updates; of a total the larger. What a minute's series gets is
decided by the time at which something arrived, or for history, at which it was so.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from edgeward.monitor import schema
from edgeward.monitor.totals import Reported, Totals
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
    Update,
)
from edgeward_runtimes.latency.counters import Counters
from edgeward_runtimes.sparkplug import metrics
from edgeward_runtimes.sparkplug.codec import Value

Row = dict[str, Any]

_DEVICE_COLUMNS = frozenset({*metrics.FACTS, *metrics.HEALTH, *metrics.SENSORS})
_MODEL_COLUMNS = frozenset(schema.models.c.keys()) - {"device_id", "model", "installed"}


class CounterKey(NamedTuple):
    """A row of `counters`."""

    device_id: str
    model: str
    release: str
    epoch: str


class MinuteKey(NamedTuple):
    """A row of the latency series by the minute."""

    start: int
    device_id: str
    model: str
    release: str


class Batch:
    """Updates, taken together.

    Attributes:
        devices: Columns by device id. A row without `last_seen` is of a device that only died: it changes where it is.
        models: Columns by (device id, model).
        models_are: By device id: its models, and no others, before the rows of `models` are written.
        totals: The largest that was reported, and when it came.
        health, observed: Columns by (start, device id) and (start, device id, model).
        changes: (series, start, device id) that are to be rolled up.
        dropped: How many messages were not understood.
    """

    def __init__(self, updates: Iterable[Update]) -> None:
        self.devices: dict[str, Row] = {}
        self.models: dict[tuple[str, str], Row] = {}
        self.models_are: dict[str, frozenset[str]] = {}
        self.totals: dict[CounterKey, tuple[Totals, float]] = {}
        self.health: dict[tuple[int, str], Row] = {}
        self.observed: dict[tuple[int, str, str], Row] = {}
        self.changes: set[tuple[str, int, str]] = set()
        self.logs: list[Row] = []
        self.answers: list[AnswerSeen] = []
        self.dropped = 0
        for update in updates:
            self._take(update)

    def _take(self, update: Update) -> None:
        match update:
            case ModelSeen():
                self._model_seen(update)
            case NodeSeen():
                self._node_seen(update)
            case HistorySeen():
                self._health_seen(update.at, _id(update), update.values, rolled_up_for=_id(update))
            case LogsSeen():
                lines = (
                    {"at": each.at, "level": each.level, "logger": each.logger, "text": each.text}
                    for each in update.lines
                )
                self.logs += ({"device_id": _id(update), **line} for line in lines)
            case AnswerSeen():
                self.answers.append(update)
            case NodeDied():  # most often a broker's word, so it is no sign of life: last_seen stays
                self.devices.setdefault(_id(update), {})["online"] = False
            case ModelDied():
                self.models.setdefault((_id(update), update.model), {})["installed"] = False
            case ModelsAre():
                self._models_are(update)
            case Dropped():
                self.dropped += 1

    def _node_seen(self, seen: NodeSeen) -> None:
        row = self._sign_of_life(seen, _id(seen))
        row.update({name: value for name, value in seen.values.items() if name in _DEVICE_COLUMNS})
        if metrics.REPORTING_INTERVAL in seen.values:
            row["interval_s"] = seen.values[metrics.REPORTING_INTERVAL]
        if seen.clock_skew_s is not None:
            row["clock_skew_s"] = seen.clock_skew_s
        if seen.is_birth:
            row["born_at"] = seen.at
        self._health_seen(seen.at, _id(seen), seen.values, rolled_up_for=schema.FLEET)

    def _health_seen(self, at: float, device_id: str, values: Mapping[str, Value], rolled_up_for: str) -> None:
        sample = {name: value for name, value in values.items() if name in schema.HEALTH_SERIES}
        if sample:
            self.health.setdefault((_minute(at), device_id), {}).update(sample)
            self.changes.add(("health", _minute(at), rolled_up_for))

    def _model_seen(self, seen: ModelSeen) -> None:
        device_id = _id(seen)
        self._sign_of_life(seen, device_id)
        columns = {name: value for name, value in seen.values.items() if name in _MODEL_COLUMNS}
        if columns:
            if "release" in columns:  # null: counted once, but no longer installed
                columns["installed"] = columns["release"] is not None
            self.models.setdefault((device_id, seen.model), {}).update(columns)
            self._observed(seen, device_id, columns)
        for each in map(_reported, seen.totals):
            key = CounterKey(device_id, seen.model, each.release, each.epoch)
            before = self.totals.get(key)
            self.totals[key] = (each.totals if before is None else before[0].later(each.totals), seen.at)

    def _observed(self, seen: ModelSeen, device_id: str, columns: Row) -> None:
        sample = {name: columns[name] for name in schema.OBSERVED_SERIES if name in columns}
        if any(value is not None for value in sample.values()):
            self.observed.setdefault((_minute(seen.at), device_id, seen.model), {}).update(sample)
            self.changes.add(("observed", _minute(seen.at), schema.FLEET))

    def _models_are(self, told: ModelsAre) -> None:
        self.models_are[_id(told)] = told.models
        for (device_id, model), row in self.models.items():
            if device_id == _id(told) and model not in told.models:
                row["installed"] = False

    def _sign_of_life(self, seen: NodeSeen | ModelSeen, device_id: str) -> Row:
        row = self.devices.setdefault(device_id, {})
        row["online"], row["last_seen"] = True, seen.at
        return row


def _reported(told: Reported | Counters) -> Reported:
    return told if isinstance(told, Reported) else Reported.of(told)


def minute_key(key: CounterKey, at: float) -> MinuteKey:
    """The minute in which something was counted."""
    return MinuteKey(_minute(at), key.device_id, key.model, key.release)


def _id(about: NodeSeen | HistorySeen | LogsSeen | NodeDied | ModelSeen | ModelDied | ModelsAre) -> str:
    return f"{about.fleet}/{about.device}"


def _minute(at: float) -> int:
    return int(at) // schema.MINUTE * schema.MINUTE
