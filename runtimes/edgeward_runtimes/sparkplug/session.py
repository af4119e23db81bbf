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

`counters` are treated as the totals they are: data carry those that changed since the last report, births all.
"""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from edgeward_runtimes.latency import counters
from edgeward_runtimes.latency.counters import Counters, Key
from edgeward_runtimes.sparkplug import metrics
from edgeward_runtimes.sparkplug.codec import DataType, Metric, Payload, Value, encode
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


class Reading(Struct, frozen=True):
    """A device at one moment. `timestamp` is Unix ms; `node` holds facts and health by metric name."""

    timestamp: int
    node: dict[str, Value]
    models: dict[str, ModelReading]


NODE_DATATYPES: dict[str, DataType] = {
    metrics.BDSEQ: DataType.INT64,
    metrics.REBIRTH: DataType.BOOLEAN,
    metrics.REPORTING_INTERVAL: DataType.DOUBLE,
    **metrics.FACTS,
    **metrics.HEALTH,
}
# Known by name alone: a host must be able to ask for a rebirth before it has seen the aliases.
_WITHOUT_ALIAS = (metrics.BDSEQ, metrics.REBIRTH)
_NODE_ALIASES = {name: alias for alias, name in enumerate(NODE_DATATYPES) if name not in _WITHOUT_ALIAS}
_NODE_NAMES = {alias: name for name, alias in _NODE_ALIASES.items()}


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
        """The will of this connection, also sent before an intended disconnect."""
        return self._node_message("NDEATH", Payload(timestamp=timestamp, metrics=(self._bd_seq_metric(),)), qos=1)

    def birth(self, reading: Reading, reporting_interval_s: float) -> list[Message]:
        """NBIRTH and every model's DBIRTH: after connecting, and when a host asks for a rebirth."""
        self._seq, self._is_born = 0, True
        self._models, self._reported = {}, {}
        self._node = {**reading.node, metrics.REBIRTH: False, metrics.REPORTING_INTERVAL: reporting_interval_s}
        born = (
            Metric(name=name, alias=_NODE_ALIASES.get(name), datatype=NODE_DATATYPES[name], value=value)
            for name, value in self._node.items()
        )
        payload = self._numbered(reading.timestamp, (self._bd_seq_metric(), *born))
        messages = [self._node_message("NBIRTH", payload)]
        messages += [self._model_birth(reading.timestamp, name, model) for name, model in reading.models.items()]
        return messages

    def data(self, reading: Reading) -> list[Message]:
        """NDATA and DDATA with what changed, DBIRTH for new models, DDEATH for those that are gone."""
        messages = []
        changed = _changes(self._node, reading.node)
        if changed:
            self._node.update(changed)
            node = tuple(
                Metric(alias=_NODE_ALIASES[name], datatype=NODE_DATATYPES[name], value=value)
                for name, value in changed.items()
            )
            messages.append(self._node_message("NDATA", self._numbered(reading.timestamp, node)))
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

    def _model_birth(self, timestamp: int, name: str, model: ModelReading) -> Message:
        aliases = self._model_aliases.get(name)
        if aliases is None:
            aliases = {metric: self._next_alias + offset for offset, metric in enumerate(metrics.MODEL)}
            self._model_aliases[name] = aliases
            self._next_alias += len(aliases)
        self._models[name] = dict(model.values)
        self._reported[name] = {each.key: each for each in model.totals}
        values = {**model.values, metrics.COUNTERS: counters.pack(model.totals)}
        born = tuple(
            Metric(name=metric, alias=aliases[metric], datatype=datatype, value=values.get(metric))
            for metric, datatype in metrics.MODEL.items()
        )
        topic = str(Topic(self._fleet, "DBIRTH", self._device, name))
        return Message(topic, encode(self._numbered(timestamp, born)))

    def _model_data(self, timestamp: int, name: str, model: ModelReading) -> list[Message]:
        reported = self._reported[name]
        changed = _changes(self._models[name], model.values)
        totals = [each for each in model.totals if reported.get(each.key) != each]
        if totals:
            changed[metrics.COUNTERS] = counters.pack(totals)
        if not changed:
            return []
        self._models[name].update(model.values)
        reported.update({each.key: each for each in totals})
        aliases = self._model_aliases[name]
        data = tuple(
            Metric(alias=aliases[metric], datatype=metrics.MODEL[metric], value=value)
            for metric, value in changed.items()
        )
        topic = str(Topic(self._fleet, "DDATA", self._device, name))
        return [Message(topic, encode(self._numbered(timestamp, data)))]

    def _numbered(self, timestamp: int, born: tuple[Metric, ...]) -> Payload:
        seq, self._seq = self._seq, (self._seq + 1) % 256
        return Payload(timestamp=timestamp, seq=seq, metrics=tuple(replace(each, timestamp=timestamp) for each in born))

    def _node_message(self, kind: str, payload: Payload, qos: int = 0) -> Message:
        return Message(str(Topic(self._fleet, kind, self._device)), encode(payload), qos)

    def _bd_seq_metric(self) -> Metric:
        return Metric(name=metrics.BDSEQ, datatype=DataType.INT64, value=self._bd_seq)


def _changes(before: Values, now: Values) -> dict[str, Value]:
    return {name: value for name, value in now.items() if name not in before or before[name] != value}
