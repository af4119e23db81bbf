"""The monitor's MQTT packets, as a broker that only listens sees them, and what it makes of what a broker sends.

Names in brackets are the specification's assertion ids (Sparkplug 3.0, chapters 4 to 6).
"""

import json
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from edgeward.monitor.config import BrokerConfig, IngestConfig, MonitorConfig
from edgeward.monitor.connection import Connected, Connection
from edgeward.monitor.receiving import Arrived
from edgeward.simulate import packets
from edgeward_runtimes.sparkplug import codec, metrics
from edgeward_runtimes.sparkplug.codec import DataType, Metric

WITHIN_S = 40.0
CONNECT, PUBLISH, PUBACK, SUBSCRIBE, DISCONNECT = 1, 3, 4, 8, 14
OUR_STATE = "spBv1.0/STATE/edgeward"
Read = Callable[[], packets.Packet]


class Broker:
    """Accepts one connection after the other."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(WITHIN_S)
        self.url = f"mqtt://127.0.0.1:{self._listening.getsockname()[1]}"

    def accept(self) -> tuple[socket.socket, Read]:
        """The next connection, and a function that gives its next packet but for pings."""
        connection, _ = self._listening.accept()
        connection.settimeout(WITHIN_S)
        incoming, ready = packets.Incoming(), []

        def read() -> packets.Packet:
            while not ready:
                received = connection.recv(65536)
                assert received, "the connection was closed"
                ready.extend(each for each in incoming.feed(received) if each.kind != 12)
            return ready.pop(0)

        return connection, read

    def close(self) -> None:
        self._listening.close()


@pytest.fixture(autouse=True)
def _short_farewells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeward.monitor.connection._FAREWELL_S", 0.2)  # nobody acknowledges them here


@pytest.fixture
def broker() -> Iterator[Broker]:
    broker = Broker()
    yield broker
    broker.close()


@contextmanager
def _connected(broker: Broker, worker: int = 0, workers: int = 1) -> Iterator[tuple[Connection, socket.socket, Read]]:
    config = MonitorConfig(broker=BrokerConfig(embedded=False, url=broker.url), ingest=IngestConfig(workers=workers))
    ours = Connection(config, worker)
    ours.start()
    connection, read = broker.accept()
    with connection:
        yield ours, connection, read
        ours.close()


def _will(content: bytes) -> tuple[int, str, dict]:
    """CONNECT's flags, and the will."""
    flags, rest = content[7], content[10:]
    for _ in range(2):
        (length,) = struct.unpack_from(">H", rest)
        field, rest = rest[2 : 2 + length], rest[2 + length :]
    (length,) = struct.unpack_from(">H", rest)
    return flags, field.decode(), json.loads(rest[2 : 2 + length])


def _greet(connection: socket.socket, read: Read) -> tuple[packets.Packet, packets.Packet]:
    """Accept CONNECT and SUBSCRIBE; gives both."""
    hello = read()
    connection.sendall(b"\x20\x02\x00\x00")
    subscribe = read()
    assert (hello.kind, subscribe.kind) == (CONNECT, SUBSCRIBE)
    count = len(_topics(subscribe.body))
    connection.sendall(bytes((0x90, 2 + count)) + subscribe.body[:2] + b"\x01" * count)
    return hello, subscribe


def _topics(content: bytes) -> list[str]:
    topics, rest = [], content[2:]
    while rest:
        (length,) = struct.unpack_from(">H", rest)
        topics.append(rest[2 : 2 + length].decode())
        rest = rest[3 + length :]
    return topics


def _state(connection: socket.socket, read: Read) -> tuple[int, dict]:
    """Our next STATE: the packet's flags and its content."""
    packet = read()
    assert packet.kind == PUBLISH
    told = packets.publication(packet)
    assert told.topic == OUR_STATE
    assert told.number is not None
    connection.sendall(packets.acknowledge(told.number))
    return packet.flags, json.loads(told.payload)


def test_state_is_said_after_the_subscriptions_with_the_wills_time_and_taken_back_at_the_end(broker: Broker) -> None:
    # [tck-id-message-flow-phid-sparkplug-clean-session-311, -subscription, -state-publish, -state-publish-payload,
    #  -state-publish-payload-timestamp; tck-id-host-topic-phid-death-required, -death-topic, -death-payload,
    #  -death-payload-timestamp-connect, -death-payload-timestamp-disconnect-clean, -death-qos, -death-retain,
    #  -birth-required, -birth-sub-required, -birth-message, -birth-topic, -birth-payload, -birth-payload-timestamp,
    #  -birth-qos, -birth-retain; tck-id-operational-behavior-host-application-connect-will, -connect-birth,
    #  -disconnect-intentional, tck-id-components-ph-state]
    before = time.time() * 1000
    with _connected(broker) as (ours, connection, read):
        hello, subscribe = _greet(connection, read)
        flags, topic, will = _will(hello.body)
        clean, is_will, qos, retain = flags >> 1 & 1, flags >> 2 & 1, flags >> 3 & 3, flags >> 5 & 1
        assert (clean, is_will, qos, retain, topic) == (1, 1, 1, 1, OUR_STATE)
        assert will["online"] is False
        assert before - 1 <= will["timestamp"] <= time.time() * 1000
        kinds = {"NBIRTH/+", "NDATA/+", "NDEATH/+", "DBIRTH/+/+", "DDATA/+/+", "DDEATH/+/+"}
        assert set(_topics(subscribe.body)) == {OUR_STATE, *(f"spBv1.0/+/{kind}" for kind in kinds)}
        assert _state(connection, read) == (0x03, {"online": True, "timestamp": will["timestamp"]})
        ending = threading.Thread(target=ours.close)
        ending.start()
        flags, death = _state(connection, read)
        assert (flags, death["online"]) == (0x03, False)
        assert death["timestamp"] >= will["timestamp"]
        assert read().kind == DISCONNECT
        ending.join()


def test_a_late_will_of_ours_is_answered_at_once_with_the_same_time(broker: Broker) -> None:
    # [tck-id-message-flow-hid-sparkplug-state-message-delivered]
    with _connected(broker) as (_, connection, read):
        _greet(connection, read)
        _, birth = _state(connection, read)
        late = json.dumps({"online": False, "timestamp": birth["timestamp"] - 5}).encode()
        connection.sendall(packets.publish(OUR_STATE, late))
        assert _state(connection, read)[1] == birth
        retained = packets.publish(OUR_STATE, late)
        connection.sendall(bytes((retained[0] | 1,)) + retained[1:])  # of before we were here
        connection.sendall(packets.publish(OUR_STATE, late))
        assert _state(connection, read)[1] == birth
        connection.close()  # the next packet would have been one STATE too many


def test_a_new_connection_has_a_new_will(broker: Broker) -> None:
    with _connected(broker) as (ours, connection, read):
        hello, _ = _greet(connection, read)
        first = _will(hello.body)[2]["timestamp"]
        connection.close()
        again, read_again = broker.accept()
        with again:
            hello, _ = _greet(again, read_again)
            _, birth = _state(again, read_again)
            assert birth["timestamp"] == _will(hello.body)[2]["timestamp"] > first
            ours.close()


def test_a_rebirth_is_asked_for_by_name_with_a_time_and_without_seq(broker: Broker) -> None:
    # [tck-id-payloads-ncmd-timestamp, -ncmd-seq, -ncmd-qos, -ncmd-retain, tck-id-topics-ncmd-topic, -ncmd-mqtt,
    #  -ncmd-timestamp, -ncmd-payload, tck-id-operational-behavior-data-commands-ncmd-rebirth-verb, -ncmd-rebirth-name,
    #  -ncmd-rebirth-value]
    with _connected(broker) as (ours, connection, read):
        _greet(connection, read)
        _state(connection, read)
        before = time.time() * 1000
        ours.command("f", "d", Metric(name=metrics.REBIRTH, datatype=DataType.BOOLEAN, value=True))
        packet = read()
        told = packets.publication(packet)
        assert (packet.kind, packet.flags, told.topic) == (PUBLISH, 0, "spBv1.0/f/NCMD/d")
        payload = codec.decode(told.payload)
        [metric] = payload.metrics
        assert (metric.name, metric.datatype, metric.value) == (metrics.REBIRTH, DataType.BOOLEAN, True)
        assert payload.seq is None
        assert payload.timestamp is not None
        assert before - 1 <= payload.timestamp <= time.time() * 1000


@pytest.mark.parametrize(("worker", "says_state"), [(0, True), (1, False)])
def test_workers_share_data_hear_every_birth_and_are_one_host(broker: Broker, worker: int, says_state: bool) -> None:
    with _connected(broker, worker, workers=2) as (ours, connection, read):
        hello, subscribe = _greet(connection, read)
        topics = set(_topics(subscribe.body))
        shared = {f"$share/edgeward-edgeward/spBv1.0/+/{kind}" for kind in ("NDATA/+", "DDATA/+/+")}
        every = {f"spBv1.0/+/{kind}" for kind in ("NBIRTH/+", "NDEATH/+", "DBIRTH/+/+", "DDEATH/+/+")}
        assert topics == shared | every | ({OUR_STATE} if says_state else set())
        assert bool(hello.body[7] & 0x04) == says_state, "a will"
        if says_state:
            assert _state(connection, read)[1]["online"]
        else:
            ours.command("f", "d")
            assert packets.publication(read()).topic == "spBv1.0/f/NCMD/d", "and no STATE before it"
        connection.close()


def test_what_arrives_is_handed_over_whole_and_in_order_however_it_is_cut(broker: Broker) -> None:
    chance = random.Random(7)
    sent = [
        (f"spBv1.0/f/DDATA/{number}/m", chance.randbytes(chance.choice([0, 3, 120, 130, 20_000, 300_000])))
        for number in range(120)
    ]
    stream = b""
    for number, (topic, payload) in enumerate(sent):
        packet = packets.publish(topic, payload)
        if number % 5 == 0:  # at QoS 1, which goes another way
            length = len(topic.encode()) + 2
            body = struct.pack(">H", length - 2) + topic.encode() + struct.pack(">H", number + 1) + payload
            packet = packets._packet(0x32, body)
        stream += packet
    with _connected(broker) as (ours, connection, read):
        _greet(connection, read)
        _state(connection, read)
        connection.settimeout(None)

        def send() -> None:
            place = 0
            while place < len(stream):
                size = chance.choice([1, 2, 3, 700, 70_000, 500_000])
                connection.sendall(stream[place : place + size])
                place += size

        threading.Thread(target=send, daemon=True).start()
        arrived: list[Arrived] = []
        while len(arrived) < len(sent):
            found = ours.events.get(timeout=WITHIN_S)
            arrived += [] if isinstance(found, Connected) else found
        assert [(each.topic, each.payload) for each in arrived] == sent
        acknowledged = {read().body for _ in range(len(sent) // 5)}
        assert acknowledged == {struct.pack(">H", number + 1) for number in range(0, len(sent), 5)}
        connection.close()


@pytest.mark.parametrize("garbage", [b"\x30\xff\xff\xff\xff\xff", b"\x30\x02\x00\x09"])
def test_what_is_no_mqtt_ends_the_connection_and_the_next_begins_afresh(broker: Broker, garbage: bytes) -> None:
    with _connected(broker) as (ours, connection, read):
        _greet(connection, read)
        _state(connection, read)
        connection.sendall(garbage)
        again, read_again = broker.accept()
        with again:
            _greet(again, read_again)
            again.sendall(packets.publish("spBv1.0/f/NDATA/d", b"x"))
            found: object = Connected()
            while isinstance(found, Connected):
                found = ours.events.get(timeout=WITHIN_S)
            assert [each.topic for each in found] == ["spBv1.0/f/NDATA/d"]  # type: ignore[attr-defined]
            again.close()
