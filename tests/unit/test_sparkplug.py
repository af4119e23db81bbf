"""Sparkplug B: the codec loses nothing, the session keeps the specification's rules.

Names in brackets are the specification's assertion ids (Sparkplug 3.0, chapter 12).
"""

import contextlib
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeward_runtimes.latency import counters
from edgeward_runtimes.latency.counters import Counters
from edgeward_runtimes.latency.histogram import Histogram
from edgeward_runtimes.sparkplug import codec, metrics
from edgeward_runtimes.sparkplug.codec import DataType, Metric, Payload
from edgeward_runtimes.sparkplug.session import EdgeNode, Message, ModelReading, Reading
from edgeward_runtimes.sparkplug.topics import Topic
from tests.conftest import REPOSITORY

names = st.text(min_size=1, max_size=10)
stamps = st.none() | st.integers(0, 2**63)
_RANGES = {
    DataType.INT8: (-(2**7), 2**7 - 1),
    DataType.INT32: (-(2**31), 2**31 - 1),
    DataType.INT64: (-(2**63), 2**63 - 1),
    DataType.UINT32: (0, 2**32 - 1),
    DataType.UINT64: (0, 2**64 - 1),
}
typed_values = st.one_of(
    *(st.tuples(st.just(kind), st.integers(low, high)) for kind, (low, high) in _RANGES.items()),
    st.tuples(st.just(DataType.DOUBLE), st.floats(allow_nan=False)),
    st.tuples(st.just(DataType.FLOAT), st.floats(width=32, allow_nan=False)),
    st.tuples(st.just(DataType.BOOLEAN), st.booleans()),
    st.tuples(st.just(DataType.STRING), st.text(max_size=10)),
    st.tuples(st.just(DataType.BYTES), st.binary(max_size=20)),
    st.tuples(st.sampled_from(list(_RANGES)), st.none()),
)
metric_values = st.builds(
    lambda name, alias, typed, timestamp, historical: Metric(
        name=name, alias=alias, datatype=typed[0], value=typed[1], timestamp=timestamp, is_historical=historical
    ),
    st.none() | names,
    st.none() | st.integers(0, 2**63),
    typed_values,
    stamps,
    st.booleans(),
)
payloads = st.builds(
    lambda timestamp, seq, found: Payload(timestamp=timestamp, seq=seq, metrics=tuple(found)),
    stamps,
    st.none() | st.integers(0, 255),
    st.lists(metric_values, max_size=4),
)


@given(payloads)
def test_the_codec_loses_nothing(payload: Payload) -> None:
    assert codec.decode(codec.encode(payload)) == payload


@given(st.binary(max_size=200))
def test_garbage_is_a_value_error_or_a_payload(garbage: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(codec.decode(garbage), Payload)


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("runtimes/edgeward_runtimes/sparkplug/payload.proto", "edgeward_runtimes.sparkplug.payload_pb2"),
        ("sdk/edgeward/monitor/metrics.proto", "edgeward.monitor.metrics_pb2"),
    ],
)
def test_the_generated_module_is_that_of_the_proto_file(source: str, module: str, tmp_path: Path) -> None:
    if find_spec("grpc_tools") is None:
        pytest.skip("grpcio-tools is not installed")
    root, out = REPOSITORY / source.partition("/")[0], tmp_path / "descriptors.pb"
    # In a process of its own: beside the protobufs of engines that were loaded before, protoc crashes.
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{root}", f"--descriptor_set_out={out}"]
    subprocess.run([*command, str(REPOSITORY / source)], check=True)
    from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

    committed = FileDescriptorProto()
    import_module(module).DESCRIPTOR.CopyToProto(committed)
    (fresh,) = FileDescriptorSet.FromString(out.read_bytes()).file
    fresh.ClearField("source_code_info")
    for message in _messages(fresh.message_type):
        for field in message.field:
            field.ClearField("json_name")
    assert committed == fresh


def _messages(messages):
    for message in messages:
        yield message
        yield from _messages(message.nested_type)


@pytest.mark.parametrize(
    "topic", ["", "a/b/NBIRTH/c", "spBv1.0/f/NBIRTH", "spBv1.0/f/NBIRTH/d/m", "spBv1.0/f/DDATA/d", "spBv1.0/STATE/h"]
)
def test_other_topics_are_refused(topic: str) -> None:
    with pytest.raises(ValueError, match="not a Sparkplug"):
        Topic.parse(topic)


@pytest.mark.parametrize("topic", ["spBv1.0/f/NBIRTH/d", "spBv1.0/f/DDATA/d/m"])
def test_topics_survive_parsing(topic: str) -> None:
    assert str(Topic.parse(topic)) == topic


def _reading(at: int = 1, models: dict[str, int] | None = None, **node: object) -> Reading:
    """A device with so many predictions by model."""
    rows = {
        name: ModelReading(
            {"release": "r", "predictions": count}, (Counters("r", "e", 0, Histogram.of([1_000] * count)),)
        )
        for name, count in ({"m": 1} if models is None else models).items()
    }
    return Reading(at, {"cpu_percent": 1.0, "temperature_c": None, **node}, rows)  # type: ignore[dict-item]


def _read(message: Message) -> tuple[Topic, Payload]:
    return Topic.parse(message.topic), codec.decode(message.payload)


def _kinds(messages: list[Message]) -> list[str]:
    return [Topic.parse(message.topic).kind for message in messages]


def test_a_birth_comes_first_with_seq_0_and_the_wills_bd_seq() -> None:
    # [tck-id-payloads-nbirth-seq, -nbirth-bdseq, -ndeath-bdseq, -nbirth-rebirth-req, -ndeath-will-message-qos]
    node = EdgeNode("f", "d", 5)
    will, births = node.death(1), node.birth(_reading(), 10.0)
    assert _kinds(births) == ["NBIRTH", "DBIRTH"]
    topic, nbirth = _read(births[0])
    by_name = {metric.name: metric for metric in nbirth.metrics}
    assert (str(topic), nbirth.seq) == ("spBv1.0/f/NBIRTH/d", 0)
    assert by_name[metrics.BDSEQ].value == 5
    assert by_name[metrics.REBIRTH].value is False
    assert by_name["temperature_c"].value is None
    assert by_name[metrics.REBIRTH].alias is None  # [tck-id-operational-behavior-data-commands-rebirth-name-aliases]
    _, death = _read(will)
    assert (will.qos, death.seq, [metric.value for metric in death.metrics]) == (1, None, [5])
    assert {message.qos for message in births} == {0}
    _, dbirth = _read(births[1])
    assert dbirth.seq == 1
    assert [metric.name for metric in dbirth.metrics] == [*metrics.MODEL, *metrics.OBSERVED]


def test_aliases_are_unique_over_the_node_and_its_models() -> None:
    # [tck-id-payloads-alias-uniqueness]
    node = EdgeNode("f", "d", 0)
    births = node.birth(_reading(models={"a": 1, "b": 2}), 10.0)
    aliases = [metric.alias for message in births for metric in _read(message)[1].metrics if metric.alias is not None]
    assert len(aliases) == len(set(aliases))


def test_data_say_what_changed_by_alias_alone() -> None:
    # [tck-id-payloads-alias-data-cmd-requirement]
    node = EdgeNode("f", "d", 0)
    births = node.birth(_reading(), 10.0)
    names = {metric.alias: metric.name for message in births for metric in _read(message)[1].metrics}
    assert node.data(_reading(2)) == []
    messages = node.data(_reading(3, {"m": 4}, cpu_percent=2.0))
    assert _kinds(messages) == ["NDATA", "DDATA"]
    said = [{names[metric.alias]: metric.value for metric in _read(message)[1].metrics} for message in messages]
    assert said[0] == {"cpu_percent": 2.0}
    assert said[1]["predictions"] == 4
    assert counters.unpack(said[1][metrics.COUNTERS])[0].predictions == 4
    assert "release" not in said[1]
    assert all(metric.name is None for message in messages for metric in _read(message)[1].metrics)


def test_every_metric_carries_its_time() -> None:
    # [tck-id-payloads-name-birth-data-requirement]
    node = EdgeNode("f", "d", 0)
    messages = node.birth(_reading(7), 10.0) + node.data(_reading(9, {"m": 4}, cpu_percent=2.0))
    for message in messages:
        payload = _read(message)[1]
        assert {metric.timestamp for metric in payload.metrics} == {payload.timestamp}


def test_a_command_names_its_metric_or_gives_its_alias() -> None:
    node = EdgeNode("f", "d", 0)
    (nbirth, _) = node.birth(_reading(), 10.0)
    for metric in _read(nbirth)[1].metrics:
        if metric.alias is not None:
            assert node.name_of(Metric(alias=metric.alias, datatype=metric.datatype, value=None)) == metric.name
        assert node.name_of(Metric(name=metric.name, datatype=metric.datatype, value=None)) == metric.name
    assert node.name_of(Metric(alias=9999, datatype=DataType.DOUBLE, value=None)) is None


def test_every_connection_needs_a_birth_of_its_own() -> None:
    node = EdgeNode("f", "d", 0)
    assert not node.is_born
    node.birth(_reading(), 10.0)
    assert node.is_born
    node.reconnecting(1)
    assert not node.is_born


def test_seq_counts_modulo_256_over_births_and_data() -> None:
    # [tck-id-payloads-sequence-num-incrementing]
    node = EdgeNode("f", "d", 0)
    messages = node.birth(_reading(), 10.0)
    for count in range(2, 600):
        messages += node.data(_reading(count, {"m": count}))
    assert [_read(message)[1].seq for message in messages] == [index % 256 for index in range(len(messages))]


def test_models_are_born_when_they_come_and_die_when_they_go() -> None:
    # [tck-id-message-flow-device-birth-publish-nbirth-wait, -device-death]
    node = EdgeNode("f", "d", 0)
    node.birth(_reading(models={}), 10.0)
    assert _kinds(node.data(_reading(2, {"m": 1}))) == ["DBIRTH"]
    assert _kinds(node.data(_reading(3, {"m": 2, "n": 1}))) == ["DDATA", "DBIRTH"]
    assert _kinds(node.data(_reading(4, {"n": 1}))) == ["DDEATH"]
    assert _kinds(node.data(_reading(5, {"n": 1, "m": 3}))) == ["DBIRTH"]


def test_a_rebirth_tells_everything_again() -> None:
    # [tck-id-operational-behavior-data-commands-rebirth-action-1 … -3]
    node = EdgeNode("f", "d", 3)
    node.birth(_reading(), 10.0)
    node.data(_reading(2, {"m": 9}))
    births = node.birth(_reading(3, {"m": 9}), 10.0)
    _, nbirth = _read(births[0])
    assert nbirth.seq == 0
    assert {metric.name: metric.value for metric in nbirth.metrics}[metrics.BDSEQ] == 3
    _, dbirth = _read(births[1])
    assert counters.unpack({m.name: m.value for m in dbirth.metrics}[metrics.COUNTERS])[0].predictions == 9
