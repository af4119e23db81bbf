"""The edge node's side of a Sparkplug session, as a pure state machine: readings in, messages out.

Rules kept here (specification 3.0, sections 5 and 6):

- Every connection has its own bdSeq (0–255), the same in its will (NDEATH) and its NBIRTH.
- NBIRTH comes first, with seq 0, every node metric and Node Control/Rebirth; then a DBIRTH for each model.
- seq rises by one, modulo 256, over all births and data; NDEATH carries none.
- Births name every metric and give its alias, but for Node Control/Rebirth, which has none; data carry aliases only, of
  what changed. Every metric carries its timestamp.
- Commands may name a metric or give its alias.
- A model seen for the first time is born before its data; one that is gone gets a DDEATH.
- Births and data travel at QoS 0, the will at QoS 1; nothing is retained.
- What was read while nobody listened is told as data with `is_historical`, after the births, each value with its time.
- A log line is a value of the metric Logs at the line's time; a birth has none, the data after it tell those that wait.
  So it is with an answer to a request, each part of which is a value of its own.

`counters` are treated as the totals they are: data carry those that changed since the last report, births all.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from edgeward_runtimes.latency import counters
from edgeward_runtimes.latency.counters import Counters, Key
from edgeward_runtimes.sparkplug import metrics, requests
from edgeward_runtimes.sparkplug.codec import DataType, Metric, Payload, Value, encode
from edgeward_runtimes.sparkplug.requests import Answer
from edgeward_runtimes.sparkplug.topics import Topic

Values = Mapping[str, Value]


class Message(Struct, frozen=True):
    """Something to publish."""

    topic: str
    payload: bytes
    qos: int = 0


class ModelReading(Struct, frozen=True):
    """One model at one moment: its plain metrics by name, and its totals."""

    values: dict[str, Value]
    totals: tuple[Counters, ...]


class LogLine(Struct, frozen=True, array_like=True):
    """A line of a log; `timestamp` is Unix ms."""

    timestamp: int
    text: str


class Reading(Struct, frozen=True):
    """A device at one moment. `timestamp` is Unix ms; `node` holds facts and health by metric name.

    `logs` are the lines since the reading before, in the order of their time.
    """

    timestamp: int
    node: dict[str, Value]
    models: dict[str, ModelReading]
    logs: tuple[LogLine, ...] = ()


NODE_DATATYPES: dict[str, DataType] = {
    metrics.BDSEQ: DataType.INT64,
    metrics.REBIRTH: DataType.BOOLEAN,
    metrics.REPORTING_INTERVAL: DataType.DOUBLE,
    **metrics.FACTS,
    **metrics.HEALTH,
    **metrics.SENSORS,
    metrics.LOGS: DataType.STRING,
    metrics.REQUEST: DataType.BYTES,
    metrics.ANSWER: DataType.BYTES,
}
_MODEL_DATATYPES: dict[str, DataType] = {**metrics.MODEL, **metrics.OBSERVED}
# Known by name alone: a host must be able to ask for a rebirth before it has seen the aliases.
_WITHOUT_ALIAS = (metrics.BDSEQ, metrics.REBIRTH)
_NODE_ALIASES = {name: alias for alias, name in enumerate(NODE_DATATYPES) if name not in _WITHOUT_ALIAS}
_NODE_NULLS: dict[str, Value] = {name: None for name in NODE_DATATYPES if name != metrics.BDSEQ}
_NODE_NAMES = {alias: name for name, alias in _NODE_ALIASES.items()}


def death(fleet: str, device: str, bd_seq: int, timestamp: int) -> Message:
    """The will of a connection, also sent before an intended disconnect."""
    bd_seq_metric = Metric(name=metrics.BDSEQ, datatype=DataType.INT64, value=bd_seq)
    payload = Payload(timestamp=timestamp, metrics=(bd_seq_metric,))
    return Message(str(Topic(fleet, "NDEATH", device)), encode(payload), qos=1)


class EdgeNode:
    """One device's session with the fleet's hosts."""

    def __init__(self, fleet: str, device: str, bd_seq: int) -> None:
        """Begin with the bdSeq of the connection about to be made."""
        self._fleet = fleet
        self._device = device
        self._bd_seq = bd_seq
        self._seq = 0
        self._node: dict[str, Value] = {}
        self._models: dict[str, dict[str, Value]] = {}
        self._reported: dict[str, dict[Key, Counters]] = {}
        # Aliases are unique over the node and all its models, for as long as this object lives.
        self._model_aliases: dict[str, dict[str, int]] = {}
        self._next_alias = len(NODE_DATATYPES)
        self._is_born = False

    @property
    def command_topic(self) -> str:
        """Where commands to this device come."""
        return str(Topic(self._fleet, "NCMD", self._device))

    @property
    def is_born(self) -> bool:
        """Whether this connection has had its birth; before it, there is no data."""
        return self._is_born

    def name_of(self, command: Metric) -> str | None:
        """The node metric that a command is about, named or by its alias."""
        return command.name or _NODE_NAMES.get(-1 if command.alias is None else command.alias)

    def reconnecting(self, bd_seq: int) -> None:
        """Take the bdSeq of the next connection, which has had no birth."""
        self._bd_seq, self._is_born = bd_seq, False

    def death(self, timestamp: int) -> Message:
        """This connection's NDEATH."""
        return death(self._fleet, self._device, self._bd_seq, timestamp)

    def birth(self, reading: Reading, reporting_interval_s: float) -> list[Message]:
        """NBIRTH and every model's DBIRTH: after connecting, and when a host asks for a rebirth."""
        self._seq, self._is_born = 0, True
        self._models, self._reported = {}, {}
        ours = {metrics.REBIRTH: False, metrics.REPORTING_INTERVAL: reporting_interval_s}
        self._node = {**_NODE_NULLS, **reading.node, **ours}
        born = (
            Metric(name=name, alias=_NODE_ALIASES.get(name), datatype=NODE_DATATYPES[name], value=value)
            for name, value in self._node.items()
        )
        bd_seq = Metric(name=metrics.BDSEQ, datatype=DataType.INT64, value=self._bd_seq)
        payload = self._numbered(reading.timestamp, (bd_seq, *born))
        messages = [Message(str(Topic(self._fleet, "NBIRTH", self._device)), encode(payload))]
        messages += [self._model_birth(reading.timestamp, name, model) for name, model in reading.models.items()]
        return messages + self._data(reading.timestamp, None, _log_metrics(reading.logs))

    def data(self, reading: Reading) -> list[Message]:
        """NDATA and DDATA with what changed, DBIRTH for new models, DDEATH for those that are gone."""
        changed = _changes(self._node, reading.node)
        self._node.update(changed)
        node = (*_log_metrics(reading.logs), *_node_metrics(changed, reading.timestamp))
        messages = self._data(reading.timestamp, None, node)
        for name in sorted(set(self._models) - set(reading.models)):
            del self._models[name], self._reported[name]
            topic = str(Topic(self._fleet, "DDEATH", self._device, name))
            messages.append(Message(topic, encode(self._numbered(reading.timestamp, ()))))
        for name, model in reading.models.items():
            if name in self._models:
                messages += self._model_data(reading.timestamp, name, model)
            else:
                messages.append(self._model_birth(reading.timestamp, name, model))
        return messages

    def answer(self, answer: Answer, timestamp: int) -> list[Message]:
        """NDATA with one part of an answer to a request."""
        return self._data(timestamp, None, _node_metrics({metrics.ANSWER: requests.encode(answer)}, timestamp))

    def history(self, readings: Sequence[Reading], timestamp: int) -> list[Message]:
        """NDATA and DDATA with readings of before this birth, oldest first: what changed from each to the next.

        Left out are counters, which are cumulative, what cannot change, and models that are no longer here.
        """
        if not readings:
            return []
        node = [line for reading in readings for line in _log_metrics(reading.logs, is_historical=True)]
        for at, changed in _series((each.timestamp, each.node) for each in readings):
            node += _node_metrics(changed, at, is_historical=True)
        messages = self._data(timestamp, None, node)
        for name in self._models:
            known = ((each.timestamp, each.models[name].values) for each in readings if name in each.models)
            told = [metric for at, changed in _series(known) for metric in self._model_metrics(name, changed, at, True)]
            messages += self._data(timestamp, name, told)
        return messages

    def _model_birth(self, timestamp: int, name: str, model: ModelReading) -> Message:
        aliases = self._model_aliases.get(name)
        if aliases is None:
            aliases = {metric: self._next_alias + offset for offset, metric in enumerate(_MODEL_DATATYPES)}
            self._model_aliases[name] = aliases
            self._next_alias += len(aliases)
        self._models[name] = dict(model.values)
        self._reported[name] = {each.key: each for each in model.totals}
        values = {**model.values, metrics.COUNTERS: counters.pack(model.totals)}
        born = tuple(
            Metric(name=metric, alias=aliases[metric], datatype=datatype, value=values.get(metric))
            for metric, datatype in _MODEL_DATATYPES.items()
        )
        topic = str(Topic(self._fleet, "DBIRTH", self._device, name))
        return Message(topic, encode(self._numbered(timestamp, born)))

    def _model_data(self, timestamp: int, name: str, model: ModelReading) -> list[Message]:
        reported = self._reported[name]
        changed = _changes(self._models[name], model.values)
        totals = [each for each in model.totals if reported.get(each.key) != each]
        if totals:
            changed[metrics.COUNTERS] = counters.pack(totals)
        self._models[name].update(model.values)
        reported.update({each.key: each for each in totals})
        return self._data(timestamp, name, self._model_metrics(name, changed, timestamp))

    def _model_metrics(
        self, model: str, values: Values, timestamp: int, is_historical: bool = False
    ) -> Sequence[Metric]:
        return _metrics(values, self._model_aliases[model], _MODEL_DATATYPES, timestamp, is_historical)

    def _data(self, timestamp: int, model: str | None, told: Sequence[Metric]) -> list[Message]:
        """NDATA, or a model's DDATA; nothing when there is nothing to tell."""
        if not told:
            return []
        topic = Topic(self._fleet, "NDATA" if model is None else "DDATA", self._device, model)
        return [Message(str(topic), encode(self._numbered(timestamp, told), with_datatypes=False))]

    def _numbered(self, timestamp: int, told: Iterable[Metric]) -> Payload:
        seq, self._seq = self._seq, (self._seq + 1) % 256
        timed = (each if each.timestamp is not None else replace(each, timestamp=timestamp) for each in told)
        return Payload(timestamp=timestamp, seq=seq, metrics=tuple(timed))


def _node_metrics(values: Values, timestamp: int, *, is_historical: bool = False) -> Sequence[Metric]:
    return _metrics(values, _NODE_ALIASES, NODE_DATATYPES, timestamp, is_historical)


def _metrics(
    values: Values, aliases: Mapping[str, int], datatypes: Mapping[str, DataType], timestamp: int, is_historical: bool
) -> list[Metric]:
    """Values as data tell them."""
    return [
        Metric(
            alias=aliases[name],
            datatype=datatypes[name],
            value=value,
            timestamp=timestamp,
            is_historical=is_historical,
        )
        for name, value in values.items()
    ]


def _log_metrics(lines: Iterable[LogLine], *, is_historical: bool = False) -> list[Metric]:
    return [
        metric
        for line in lines
        for metric in _node_metrics({metrics.LOGS: line.text}, line.timestamp, is_historical=is_historical)
    ]


def _series(readings: Iterable[tuple[int, Values]]) -> Iterable[tuple[int, Values]]:
    """What changed from each to the next; the first is told whole."""
    before: Values = {}
    for timestamp, values in readings:
        yield timestamp, _changes(before, values)
        before = {**before, **values}


def _changes(before: Values, now: Values) -> dict[str, Value]:
    return {name: value for name, value in now.items() if name not in before or before[name] != value}
