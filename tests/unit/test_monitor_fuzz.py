"""Mutated messages and topics into the host and the store: nothing crashes, no total is wrong.

`EDGEWARD_FUZZ_INPUTS=100000` takes as many; a few thousand are part of the tests.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, select

from edgeward.monitor import schema, store
from edgeward.monitor.database import open_engine
from edgeward.monitor.host import HostState
from edgeward.monitor.totals import Totals
from edgeward.monitor.updates import ModelSeen, Update
from edgeward_runtimes.latency.counters import Counters
from edgeward_runtimes.latency.histogram import BUCKET_COUNT, Histogram
from edgeward_runtimes.sparkplug import codec
from edgeward_runtimes.sparkplug.codec import DataType, Metric, Payload
from edgeward_runtimes.sparkplug.requests import Answer
from edgeward_runtimes.sparkplug.session import EdgeNode, LogLine, Message, ModelReading, Reading

INPUTS = int(os.environ.get("EDGEWARD_FUZZ_INPUTS", "3000"))
_BATCH = 200
_ODD_BYTES = (b"", b"\0", b"\xff" * 9, b"\x80\x80\x80\x80\x10", b"/", b"+", b"#", "é".encode(), b"\xc1", b"\x7f")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path / 'monitor.db'}")
    yield engine
    engine.dispose()


def _reading(at: int, count: int) -> Reading:
    totals = (Counters("r", "e", count // 7, Histogram.of(range(1_000_000, 1_000_000 + 90_000 * count, 90_000))),)
    logs = (LogLine(at, "ERROR a.b: c"),) if count % 3 == 0 else ()
    return Reading(
        at, {"cpu_percent": float(count), "target": "pi"}, {"m": ModelReading({"release": "r"}, totals)}, logs
    )


def _session(device: str, count: int) -> list[Message]:
    """Everything that a device may say."""
    node = EdgeNode("f", device, 0)
    told = node.birth(_reading(1_000, count), 10.0) + node.data(_reading(2_000, count + 5))
    told += node.history([_reading(500, 1), _reading(700, 2)], 2_500)
    told += node.answer(Answer("id", True, "done", 0, 1, b"content"), 2_600)
    return [*told, node.death(3_000)]


def _mutated(chance: random.Random, content: bytes) -> bytes:
    """Bits flipped, bytes taken out, doubled or put in, or the end cut off."""
    bent = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 5))):
        place = chance.randrange(len(bent) + 1)
        match chance.randrange(5):
            case 0 if place < len(bent):
                bent[place] ^= 1 << chance.randrange(8)
            case 1:
                del bent[place : place + chance.randrange(1, 9)]
            case 2:
                bent[place:place] = bent[place : place + chance.randrange(1, 30)]
            case 3:
                bent[place:place] = chance.choice(_ODD_BYTES)
            case _:
                del bent[place:]
    return bytes(bent)


def _write(writer: store.Writer, updates: list[Update], expected: dict[tuple[str, ...], Counters]) -> None:
    """Write as ingest does: all, or all but what cannot be written; note which totals were."""
    try:
        writer.apply(updates)
    except ValueError:
        if len(updates) > 1:
            middle = len(updates) // 2
            _write(writer, updates[:middle], expected)
            _write(writer, updates[middle:], expected)
        return
    for seen in updates:
        for each in seen.totals if isinstance(seen, ModelSeen) else ():
            key = (f"{seen.fleet}/{seen.device}", seen.model, each.release, each.epoch)
            told = Counters(each.release, each.epoch, each.totals.errors, _dense(each.totals))
            expected[key] = expected[key].later(told) if key in expected else told


def _dense(totals: Totals) -> Histogram:
    counts = np.zeros(BUCKET_COUNT, np.uint64)
    for bucket, count in totals.by_bucket.items():
        counts[bucket] = count
    return Histogram(counts, totals.sum_ns)


def _stored(engine: Engine) -> dict[tuple[str, ...], Counters]:
    table = schema.counters
    with engine.connect() as connection:
        return {
            (row.device_id, row.model, row.release, row.epoch): Counters(
                row.release, row.epoch, row.errors, Histogram.decode(row.histogram)
            )
            for row in connection.execute(select(table))
        }


def test_mutated_messages_crash_nothing_and_no_total_is_wrong(engine: Engine) -> None:
    chance = random.Random(20261124)
    host, writer = HostState(), store.Writer(engine, is_alone=True)
    good = EdgeNode("f", "good", 0)
    expected: dict[tuple[str, ...], Counters] = {}
    updates: list[Update] = []
    good_count = 0

    def receive(topic: str, payload: bytes, at: float) -> None:
        updates.extend(host.receive(topic, payload, at))

    for message in good.birth(_reading(1, 0), 10.0):
        receive(message.topic, message.payload, 60.0)
    for number in range(INPUTS):
        at = 60.0 + number / 100
        session = _session(f"mutant-{number % 5}", number % 40)
        message = chance.choice(session)
        if chance.random() < 0.3:  # of a device that is known, so that its data are read at all
            for birth in session[:2]:
                receive(birth.topic, birth.payload, at)
        topic = message.topic
        if chance.random() < 0.2:
            topic = _mutated(chance, topic.encode()).decode(errors="replace")
        receive(topic, _mutated(chance, message.payload), at)
        if number % 10 == 0:
            good_count += 1
            for honest in good.data(_reading(2 + number, good_count)):
                receive(honest.topic, honest.payload, at)
        if len(updates) >= _BATCH:
            _write(writer, updates, expected)
            updates.clear()
    _write(writer, updates, expected)
    stored = _stored(engine)
    assert stored == expected
    honest = stored["f/good", "m", "r", "e"]
    assert (honest.predictions, honest.errors) == (good_count, good_count // 7)
    _check_series(engine, stored)


def _check_series(engine: Engine, stored: dict[tuple[str, ...], Counters]) -> None:
    """What the minutes say adds up to the totals."""
    table = schema.latency[schema.MINUTE]
    sums: dict[tuple[str, ...], int] = {}
    with engine.connect() as connection:
        for row in connection.execute(select(table)):
            key = (row.device_id, row.model, row.release)
            sums[key] = sums.get(key, 0) + row.predictions
    whole: dict[tuple[str, ...], int] = {}
    for (device, model, release, _), totals in stored.items():
        key = (device, model, release)
        whole[key] = whole.get(key, 0) + totals.predictions
    assert sums == {key: count for key, count in whole.items() if key in sums}
    assert all(count == 0 for key, count in whole.items() if key not in sums)


def test_odd_metrics_of_every_type_are_taken_or_left(engine: Engine) -> None:
    chance = random.Random(7)
    host, writer = HostState(), store.Writer(engine, is_alone=True)
    names = [*schema.devices.c.keys(), *schema.models.c.keys(), "counters", "Logs", "Node Control/Answer"]
    values = (None, True, -1, 0, 2**63, 2**64 - 1, 1e308, float("nan"), "", "x" * 300, "\0", b"", b"\xff" * 70_000)
    kinds = [DataType.DOUBLE, DataType.STRING, DataType.BYTES, DataType.UINT64, DataType.BOOLEAN]
    for number in range(INPUTS // 10):
        told = []
        for _ in range(6):
            value, kind = chance.choice(values), chance.choice(kinds)
            told.append(
                Metric(name=chance.choice(names), datatype=kind, value=value, timestamp=chance.choice((0, 2**63)))
            )
        for topic, seq, extra in (("NBIRTH/odd", 0, True), ("DBIRTH/odd/m", 1, False), ("NDATA/odd", 2, False)):
            bd_seq = (Metric(name="bdSeq", datatype=DataType.INT64, value=0),) if extra else ()
            content = codec.encode(Payload(seq=seq, timestamp=number, metrics=(*bd_seq, *_encodable(told))))
            kind, _, rest = topic.partition("/")
            writer.apply(host.receive(f"spBv1.0/f/{kind}/{rest}", content, 60.0))


def _encodable(metrics: list[Metric]) -> list[Metric]:
    """Those that protobuf can say."""
    found = []
    for metric in metrics:
        try:
            codec.encode(Payload(metrics=(metric,)))
        except (ValueError, TypeError):
            continue
        found.append(metric)
    return found
