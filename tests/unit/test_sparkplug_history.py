"""History and log lines as Sparkplug data, and the primary host's STATE: the specification's rules, without a network.

Names in brackets are the specification's assertion ids (Sparkplug 3.0, chapters 5 and 6).
"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeward_runtimes.sparkplug import codec, metrics
from edgeward_runtimes.sparkplug.codec import DataType, Metric, Payload
from edgeward_runtimes.sparkplug.primary_host import PrimaryHost, read_state
from edgeward_runtimes.sparkplug.session import EdgeNode, LogLine, Message, ModelReading, Reading
from edgeward_runtimes.sparkplug.topics import Topic


def _reading(at: int, models: dict[str, int] | None = None, **node: float | str | None) -> Reading:
    rows = {name: ModelReading({"predictions": count}, ()) for name, count in (models or {}).items()}
    return Reading(at, {"cpu_percent": 1.0, **node}, rows)


def _born(models: dict[str, int] | None = None) -> tuple[EdgeNode, dict[int | None, str | None]]:
    node = EdgeNode("f", "d", 0)
    births = node.birth(_reading(1_000, models), 10.0)
    return node, {m.alias: m.name for message in births for m in codec.decode(message.payload).metrics}


def _told(messages: list[Message], names: dict[int | None, str | None]) -> list[list[tuple]]:
    return [
        [(names[m.alias], m.value, m.timestamp, m.is_historical) for m in codec.decode(message.payload).metrics]
        for message in messages
    ]


def test_history_has_its_own_times_and_says_only_what_changed() -> None:
    # [tck-id-payloads-name-birth-data-requirement, -ndata-timestamp]
    node, names = _born({"m": 5})
    past = [
        _reading(100, {"m": 1, "gone": 1}, power_w=2.0),
        _reading(200, {"m": 1}, power_w=3.0),
        _reading(300, {"m": 4}, power_w=3.0),
    ]
    messages = node.history(past, 2_000)
    assert [Topic.parse(message.topic).kind for message in messages] == ["NDATA", "DDATA"]
    assert _told(messages, names) == [
        [("cpu_percent", 1.0, 100, True), ("power_w", 2.0, 100, True), ("power_w", 3.0, 200, True)],
        [("predictions", 1, 100, True), ("predictions", 4, 300, True)],
    ]
    assert {codec.decode(message.payload).timestamp for message in messages} == {2_000}


def test_history_does_not_change_what_the_next_data_say() -> None:
    node, names = _born()
    node.history([_reading(100, cpu_percent=77.0)], 2_000)
    assert _told(node.data(_reading(3_000)), names) == []
    assert _told(node.data(_reading(4_000, cpu_percent=2.0)), names) == [[("cpu_percent", 2.0, 4_000, False)]]


def test_seq_runs_on_over_history() -> None:
    # [tck-id-payloads-sequence-num-incrementing, -ndata-seq-inc, -ddata-seq-inc]
    node, _ = _born({"m": 1})
    messages = [message for at in range(200) for message in node.history([_reading(at, {"m": at})], at)]
    assert [codec.decode(message.payload).seq for message in messages] == [(2 + n) % 256 for n in range(400)]


def test_no_history_is_no_message() -> None:
    node, _ = _born()
    assert node.history([], 1) == []


def test_log_lines_are_told_in_order_before_the_values_of_later() -> None:
    # [tck-id-operational-behavior-data-publish-nbirth-order, -data-publish-nbirth]
    node = EdgeNode("f", "d", 0)
    lines = (LogLine(5, "WARNING a: one"), LogLine(7, "ERROR a: two"))
    births = node.birth(Reading(9, {}, {}, lines), 10.0)
    names = {m.alias: m.name for m in codec.decode(births[0].payload).metrics}
    assert {m.name: m.value for m in codec.decode(births[0].payload).metrics}[metrics.LOGS] is None
    assert _told(births[1:], names) == [
        [(metrics.LOGS, "WARNING a: one", 5, False), (metrics.LOGS, "ERROR a: two", 7, False)]
    ]
    told = _told(node.data(Reading(20, {"cpu_percent": 3.0}, {}, (LogLine(15, "ERROR a: two"),))), names)
    assert [(name, at) for name, _, at, _ in told[0]] == [(metrics.LOGS, 15), ("cpu_percent", 20)]


def test_data_leave_datatypes_to_the_birth_and_a_null_stays_a_null() -> None:
    # [tck-id-payloads-metric-datatype-not-req, -metric-datatype-req]
    birth = EdgeNode("f", "d", 0).birth(_reading(1, {"m": 1}), 10.0)
    assert all(m.datatype is not DataType.UNKNOWN for each in birth for m in codec.decode(each.payload).metrics)
    node, names = _born()
    (message,) = node.data(_reading(2, cpu_percent=None, spool_rows=7, throttling="hot"))
    found = {names[m.alias]: (m.datatype, m.value) for m in codec.decode(message.payload).metrics}
    assert found == {
        "cpu_percent": (DataType.UNKNOWN, None),
        "spool_rows": (DataType.UINT64, 7),
        "throttling": (DataType.STRING, "hot"),
    }
    assert codec.encode(codec.decode(message.payload), with_datatypes=False) == message.payload


def test_a_birth_names_every_metric_that_may_ever_be_told_and_null_for_what_is_not_known() -> None:
    # [tck-id-operational-behavior-data-publish-nbirth, -data-publish-nbirth-values]
    (birth,) = EdgeNode("f", "d", 0).birth(_reading(1), 10.0)
    told = {m.name: m.value for m in codec.decode(birth.payload).metrics}
    events = {metrics.LOGS, metrics.REQUEST, metrics.ANSWER}
    ours = {metrics.BDSEQ, metrics.REBIRTH, metrics.REPORTING_INTERVAL} | events
    assert set(told) == {*metrics.FACTS, *metrics.HEALTH, *metrics.SENSORS} | ours
    assert {name for name, value in told.items() if value is not None} == ours - events | {"cpu_percent"}


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=12))
def test_a_state_counts_unless_it_is_older_than_one_before(states: list[tuple[bool, int]]) -> None:
    # [tck-id-message-flow-edge-node-birth-publish-phid-wait-online, -phid-wait-timestamp, -phid-offline]
    host, newest, expected = PrimaryHost(), -1, False
    for online, timestamp in states:
        heard = host.hear(json.dumps({"online": online, "timestamp": timestamp}).encode())
        assert (heard is not None) == (timestamp >= newest)
        if timestamp >= newest:
            newest, expected = timestamp, online
        assert host.is_online is expected


def test_a_new_connection_asks_anew() -> None:
    host = PrimaryHost()
    host.hear(b'{"online": true, "timestamp": 100}')
    host.reconnecting()
    assert not host.is_online
    assert host.hear(b'{"online": true, "timestamp": 50}') is not None, "the host's clock was set back"
    assert host.is_online


@pytest.mark.parametrize(
    "payload",
    [b"", b"ONLINE", b"true", b"[]", b"\xff\xfe", b'{"online": true}', b'{"online": 1, "timestamp": 1}',
     b'{"online": true, "timestamp": "now"}'],
)  # fmt: skip
def test_what_is_no_state_is_ignored(payload: bytes) -> None:
    assert read_state(payload) is None
    assert not PrimaryHost().is_online


def test_commands_keep_their_datatype() -> None:
    command = Payload(metrics=(Metric(name=metrics.REBIRTH, datatype=DataType.BOOLEAN, value=True),))
    assert codec.decode(codec.encode(command)) == command
