"""The agent's MQTT packets, byte by byte, as a broker that only listens sees them.

Names in brackets are the specification's assertion ids (Sparkplug 3.0, chapters 5 and 6).
"""

import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeward_runtimes.agent.config import AgentConfig
from edgeward_runtimes.home import Home
from edgeward_runtimes.sparkplug import codec, metrics
from edgeward_runtimes.sparkplug.codec import DataType
from tests.agents import WITHIN_S, running

CONNECT, CONNACK, PUBLISH, SUBSCRIBE, SUBACK = 1, 2, 3, 8, 9
Packet = tuple[int, int, bytes]  # type, flags, content
Read = Callable[[], Packet]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(WITHIN_S)
        yield listening


def _reader(connection: socket.socket) -> Read:
    connection.settimeout(WITHIN_S)
    stream = connection.makefile("rb")

    def read() -> Packet:
        first = stream.read(1)[0]
        length, shift = 0, 0
        while True:
            byte = stream.read(1)[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return first >> 4, first & 0x0F, stream.read(length)

    return read


def _string(content: bytes) -> tuple[bytes, bytes]:
    """A string with its length before it, and the rest."""
    (length,) = struct.unpack_from(">H", content)
    return content[2 : 2 + length], content[2 + length :]


def test_connect_carries_the_will_and_births_come_after_the_subscriptions(
    listener: socket.socket, tmp_path: Path
) -> None:
    # [tck-id-message-flow-edge-node-birth-publish-will-message, -will-message-topic, -will-message-payload,
    #  -will-message-payload-bdSeq, -will-message-qos, -will-message-will-retained, -birth-publish-connect,
    #  -nbirth-topic, -nbirth-payload, -nbirth-payload-bdSeq, -nbirth-qos, -nbirth-retained, -nbirth-payload-seq,
    #  tck-id-message-flow-edge-node-ncmd-subscribe, tck-id-payloads-ndeath-will-message, -ndeath-will-message-qos,
    #  -ndeath-will-message-retain, -ndeath-seq, -ndeath-bdseq, -nbirth-qos, -nbirth-retain, -nbirth-bdseq-repeat,
    #  tck-id-principles-persistence-clean-session-311]
    config = AgentConfig(fleet="f", device="d", broker=f"mqtt://127.0.0.1:{listener.getsockname()[1]}", interval_s=60)
    with running(config, Home.under(tmp_path / "device")):
        connection, _ = listener.accept()
        with connection:
            read = _reader(connection)
            kind, _, content = read()
            assert kind == CONNECT
            protocol, rest = _string(content)
            version, flags, keep_alive = struct.unpack_from(">BBH", rest)
            assert (protocol, version, keep_alive) == (b"MQTT", 4, 30)
            clean, will, qos, retain = flags >> 1 & 1, flags >> 2 & 1, flags >> 3 & 3, flags >> 5 & 1
            assert (clean, will, qos, retain) == (1, 1, 1, 0)
            client, rest = _string(rest[4:])
            topic, rest = _string(rest)
            death = codec.decode(_string(rest)[0])
            assert (client, topic) == (b"edgeward-f-d", b"spBv1.0/f/NDEATH/d")
            assert death.seq is None
            assert [(m.name, m.datatype, m.value) for m in death.metrics] == [(metrics.BDSEQ, DataType.INT64, 0)]

            connection.sendall(bytes([CONNACK << 4, 2, 0, 0]))
            kind, _, content = read()
            assert kind == SUBSCRIBE, "before any birth"
            wanted, rest = {}, content[2:]
            while rest:
                topic, rest = _string(rest)
                wanted[topic], rest = rest[0], rest[1:]
            assert wanted == {b"spBv1.0/f/NCMD/d": 1, b"spBv1.0/STATE/edgeward": 1}
            connection.sendall(bytes([SUBACK << 4, 4]) + content[:2] + b"\x01\x01")

            kind, flags, content = read()
            topic, payload = _string(content)
            assert (kind, flags, topic) == (PUBLISH, 0, b"spBv1.0/f/NBIRTH/d"), "QoS 0, not retained"
            birth = codec.decode(payload)
            assert birth.seq == 0
            assert {m.name: m.value for m in birth.metrics}[metrics.BDSEQ] == 0

            # The fence: our commands again, which the broker acknowledges after the birth.
            kind, _, content = read()
            assert (kind, _string(content[2:])) == (SUBSCRIBE, (b"spBv1.0/f/NCMD/d", b"\x01"))
