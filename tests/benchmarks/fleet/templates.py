"""DDATA of a whole fleet as one matrix of bytes, a row a message: telling more predictions is arithmetic on columns.

Every message is what an agent would send: the aliases of its birth, its place in the device's `seq`, cumulative
counters with a histogram of 24 buckets. All numbers have a fixed width on the wire, which protobuf and MessagePack
allow, so that all messages are equally long. The generator costs next to nothing, and leaves the machine to those that
are measured.
"""

import struct
from typing import Any

import numpy as np

from edgeward_runtimes.latency.counters import Counters
from edgeward_runtimes.latency.histogram import Histogram
from edgeward_runtimes.sparkplug import codec, metrics
from edgeward_runtimes.sparkplug.codec import DataType, Metric, Payload
from edgeward_runtimes.sparkplug.session import EdgeNode, Message, ModelReading, Reading
from edgeward_runtimes.sparkplug.topics import Topic

FLEET = "bench"
RELEASE, EPOCH = "1.4.0-5b1f0c2e", "6740f1a2-0"
BUCKETS = 24
_FIRST_BUCKET = 180
_GROWING = 6  # buckets that grow with a message, by one each
_COUNT = 0xCD  # MessagePack's uint 16, which two bytes follow
Bytes = np.ndarray[Any, np.dtype[np.uint8]]


class Templates:
    """The next message of every model of a fleet."""

    def __init__(self, devices: int, models: int) -> None:
        self.devices, self.models = devices, models
        self.keys = devices * models
        rows = [self._row(device, model) for device in range(devices) for model in range(models)]
        self._matrix: Bytes = np.frombuffer(b"".join(rows), np.uint8).reshape(self.keys, -1).copy()
        self._counts = np.zeros((self.keys, BUCKETS), np.uint16)
        self._round = np.zeros(self.keys, np.uint32)
        first = rows[0].index(_histogram_bytes())
        self._count_columns = first + 15 + np.arange(BUCKETS) * 4

    @property
    def predictions(self) -> int:
        """How many predictions the messages so far have told."""
        return int(self._counts.sum())

    @property
    def message_bytes(self) -> int:
        """How long a message is."""
        return int(self._matrix.shape[1])

    def births(self, device: int) -> list[Message]:
        """NBIRTH and DBIRTHs of a device whose models have counted nothing."""
        totals = Counters(RELEASE, EPOCH, 0, Histogram())
        models = {_model(model): ModelReading({"release": RELEASE}, (totals,)) for model in range(self.models)}
        return EdgeNode(FLEET, _device(device), 0).birth(Reading(1, {"keep_alive_s": 30.0}, models), 30.0)

    def next(self, start: int, stop: int) -> bytes:
        """The next messages of the models `start` to `stop`, as they go to the broker."""
        rows = slice(start, stop)
        grown = (self._round[rows, None] * 5 + np.arange(_GROWING) * 3) % BUCKETS
        self._counts[np.arange(start, stop)[:, None], grown] += np.uint16(1)
        counts = self._counts[rows]
        self._matrix[rows, self._count_columns] = (counts >> 8).astype(np.uint8)  # big endian
        self._matrix[rows, self._count_columns + 1] = counts.astype(np.uint8)
        place = np.arange(start, stop) % self.models
        seq = (self.models + 1 + self._round[rows] * self.models + place) % 256  # after the births
        self._matrix[rows, -2] = (seq & 0x7F | 0x80).astype(np.uint8)
        self._matrix[rows, -1] = (seq >> 7).astype(np.uint8)
        self._round[rows] += np.uint32(1)
        return self._matrix[rows].tobytes()

    def _row(self, device: int, model: int) -> bytes:
        topic = str(Topic(FLEET, "DDATA", _device(device), _model(model))).encode()
        aliases = _aliases(self.births(device)[1 + model])
        packed = b"\x91\x94" + _string(RELEASE) + _string(EPOCH) + b"\x00"
        histogram = _histogram_bytes()
        packed += b"\xc4" + bytes((len(histogram),)) + histogram
        told = (
            Metric(alias=aliases["predictions"], datatype=DataType.UINT64, value=1, timestamp=1_700_000_000_000),
            Metric(alias=aliases[metrics.COUNTERS], datatype=DataType.BYTES, value=packed, timestamp=1_700_000_000_000),
        )
        payload = codec.encode(Payload(timestamp=1_700_000_000_000, metrics=told), with_datatypes=False)
        body = struct.pack(">H", len(topic)) + topic + payload + b"\x18\x80\x00"  # seq, as two bytes
        assert 128 <= len(body) < 16384
        return bytes((0x30, len(body) & 0x7F | 0x80, len(body) >> 7)) + body


def _histogram_bytes() -> bytes:
    """A histogram whose numbers have fixed widths; what `Histogram.decode` reads."""
    flat = b"\xdc" + struct.pack(">H", 1 + 2 * BUCKETS) + b"\xcf" + struct.pack(">Q", 10**9)
    gaps = [_FIRST_BUCKET if bucket == 0 else 1 for bucket in range(BUCKETS)]
    pairs = b"".join((bytes((gap,)) if gap < 128 else bytes((0xCC, gap))) + bytes((_COUNT, 0, 0)) for gap in gaps)
    return flat + pairs


def _aliases(birth: Message) -> dict[str, int]:
    told = codec.decode(birth.payload).metrics
    return {metric.name: metric.alias for metric in told if metric.name is not None and metric.alias is not None}


def _string(text: str) -> bytes:
    return bytes((0xA0 | len(text),)) + text.encode()


def _device(index: int) -> str:
    return f"device-{index:06}"


def _model(index: int) -> str:
    return f"model-{index}"
