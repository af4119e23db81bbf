"""The host and its store: gaps ask for a rebirth, old wills are ignored, totals are exact, garbage never raises."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from edgeward.monitor import history, queries, schema, store
from edgeward.monitor.api import make_app
from edgeward.monitor.host import (
    Dropped,
    HistorySeen,
    HostState,
    ModelDied,
    ModelSeen,
    NodeDied,
    NodeSeen,
    RebirthWanted,
)
from edgeward_runtimes.errors import MonitorError
from edgeward_runtimes.latency import counters
from edgeward_runtimes.latency.counters import Counters
from edgeward_runtimes.latency.histogram import BUCKET_COUNT, Histogram
from edgeward_runtimes.sparkplug import codec, metrics
from edgeward_runtimes.sparkplug.codec import DataType, Metric, Payload
from edgeward_runtimes.sparkplug.session import EdgeNode, Message, ModelReading, Reading


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return store.open_engine(f"sqlite:///{tmp_path / 'monitor.db'}")


@pytest.fixture
def client(engine: Engine) -> Iterator[TestClient]:
    with TestClient(make_app(engine, {})) as client:
        yield client


def _reading(at: int, count: int) -> Reading:
    totals = (Counters("r", "e", 0, Histogram.of([1_000_000] * count)),)
    return Reading(at, {"cpu_percent": float(at)}, {"m": ModelReading({"release": "r"}, totals)})


def _receive(host: HostState, messages: list[Message], at: float = 0.0) -> list:
    return [update for message in messages for update in host.receive(message.topic, message.payload, at)]


def test_births_and_data_become_updates_with_names() -> None:
    node, host = EdgeNode("f", "d", 0), HostState()
    born = _receive(host, node.birth(_reading(1, 2), 10.0))
    assert [type(update) for update in born] == [NodeSeen, ModelSeen]
    assert born[1].totals[0].predictions == 2
    data = _receive(host, node.data(_reading(2, 5)))
    assert data[0].values == {"cpu_percent": 2.0}
    assert [each.totals[0].predictions for each in data if isinstance(each, ModelSeen)] == [5]


def test_history_goes_into_the_series_and_changes_nothing_else(engine: Engine) -> None:
    node, host = EdgeNode("f", "d", 0), HostState()
    store.apply(engine, _receive(host, node.birth(_reading(600_000, 2), 10.0), at=600.0))
    before = queries.model_totals(engine)
    kept = [_reading(at, 9) for at in (60_000, 120_000, 10**12)]  # the last by a clock that runs ahead
    told = _receive(host, node.history(kept, 610_000), at=610.0)
    history = [each for each in told if isinstance(each, HistorySeen)]
    assert [(each.at, each.values) for each in history] == [
        (60.0, {"cpu_percent": 60_000.0}),
        (120.0, {"cpu_percent": 120_000.0}),
        (610.0, {"cpu_percent": 1e12}),
    ]
    store.apply(engine, told)
    with engine.connect() as connection:
        table = schema.health[schema.MINUTE]
        rows = connection.execute(select(table.c.start, table.c.cpu_percent)).all()
        shown = connection.execute(select(schema.devices.c.cpu_percent)).scalar_one()
    assert dict(map(tuple, rows))[60] == 60_000.0
    assert shown == 600_000.0, "how the device is, not how it was"
    assert queries.model_totals(engine)[0][2:4] == before[0][2:4]


def test_a_gap_and_data_before_birth_ask_for_one_rebirth_at_a_time() -> None:
    node, host = EdgeNode("f", "d", 0), HostState()
    births = node.birth(_reading(1, 1), 10.0)
    assert _receive(host, node.data(_reading(2, 2)), at=0.0) == [RebirthWanted("f", "d")]
    assert _receive(host, node.data(_reading(3, 3)), at=1.0) == []
    assert _receive(host, node.data(_reading(4, 4)), at=9.0)[:1] == [RebirthWanted("f", "d")]
    _receive(host, births)
    node.birth(_reading(5, 5), 10.0)
    node.data(_reading(6, 6))
    updates = _receive(host, node.data(_reading(7, 7)), at=30.0)
    assert RebirthWanted("f", "d") in updates
    assert any(isinstance(update, ModelSeen) for update in updates), "what came is not thrown away"


def test_the_will_of_an_older_connection_is_ignored() -> None:
    node, host = EdgeNode("f", "d", 4), HostState()
    old_will = node.death(1)
    node.reconnecting(5)
    _receive(host, node.birth(_reading(1, 1), 10.0))
    assert _receive(host, [old_will]) == []
    assert _receive(host, [node.death(2)]) == [NodeDied("f", "d")]


topics = st.sampled_from(
    [f"spBv1.0/f/{kind}/d" for kind in ("NBIRTH", "NDATA", "NDEATH", "NCMD")]
    + [f"spBv1.0/f/{kind}/d/m" for kind in ("DBIRTH", "DDATA", "DDEATH")]
) | st.text(max_size=12)


@given(st.lists(st.tuples(topics, st.binary(max_size=60)), max_size=8), st.data())
def test_garbage_is_dropped_and_the_next_good_birth_is_understood(messages, data: st.DataObject) -> None:
    host, node = HostState(), EdgeNode("f", "d", 0)
    good = node.birth(_reading(1, 1), 10.0)
    place = data.draw(st.integers(0, max(0, len(good[1].payload) - 1)))
    bent = bytearray(good[1].payload)
    bent[place] ^= data.draw(st.integers(1, 255))
    for topic, content in [*messages, (good[1].topic, bytes(bent))]:
        host.receive(topic, content, 0.0)
    assert isinstance(host.receive("spBv1.0/f/NBIRTH/d", b"\xff", 0.0)[0], Dropped)
    assert _receive(host, good)[-1].totals[0].predictions == 1


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.randoms())
def test_totals_come_out_exact_whatever_order_reports_come_in(tmp_path_factory, steps, random) -> None:
    engine = store.open_engine(f"sqlite:///{tmp_path_factory.mktemp('store') / 'monitor.db'}")
    count, seen = 0, []
    for step in steps:
        count += step
        totals = (Counters("r", "e", count // 2, Histogram.of([1_000_000] * count)),)
        seen.append(ModelSeen("f", "d", "m", 60.0, {"release": "r"}, totals))
    received = [*random.choices(seen, k=4), seen[-1]]
    random.shuffle(received)
    for update in received:
        store.apply(engine, [update])
    shown = queries.fleet_model(engine, "m")
    assert shown is not None
    assert (shown.predictions, shown.errors, shown.devices) == (count, count // 2, ["f/d"])
    series = history.latency_series(engine, "m", device="f/d", since=0, until=120)
    assert sum(minute.predictions for minute in series) == count
    engine.dispose()


scalars = {
    DataType.DOUBLE: st.floats(),
    DataType.STRING: st.text() | st.text("x", min_size=500),
    DataType.BYTES: st.binary(max_size=8),
    DataType.BOOLEAN: st.booleans(),
    DataType.INT64: st.integers(-(2**63), 2**63 - 1),
    DataType.UINT64: st.integers(0, 2**64 - 1),
}
names = st.sampled_from([*metrics.FACTS, *metrics.HEALTH, *metrics.MODEL, metrics.REPORTING_INTERVAL])
odd_metrics = names.flatmap(
    lambda name: st.sampled_from(list(scalars)).flatmap(
        lambda kind: scalars[kind].map(lambda value: Metric(name=name, datatype=kind, value=value))
    )
)


@given(st.lists(odd_metrics, max_size=8), st.lists(odd_metrics, max_size=8))
def test_whatever_types_a_node_gives_its_metrics_it_is_stored_and_shown(
    engine: Engine, client: TestClient, node, model
) -> None:
    host = HostState()
    bd_seq = Metric(name=metrics.BDSEQ, datatype=DataType.INT64, value=0)
    for topic, payload in (
        ("spBv1.0/f/NBIRTH/odd", Payload(seq=0, metrics=(bd_seq, *node))),
        ("spBv1.0/f/DBIRTH/odd/m", Payload(seq=1, metrics=tuple(model))),
        ("spBv1.0/f/NDATA/odd", Payload(seq=2, metrics=tuple(node))),
    ):
        store.apply(engine, host.receive(topic, codec.encode(payload), 60.0))
    for path in ("/api/devices", "/api/devices/f/odd", "/metrics"):
        assert client.get(path).status_code == 200


@pytest.mark.parametrize("name", ["temperature_c", "keep_alive_s", metrics.REPORTING_INTERVAL])
def test_a_metric_of_another_type_is_left_out_and_the_others_are_kept(name: str, engine: Engine) -> None:
    odd = Metric(name=name, datatype=DataType.STRING, value="hot")
    good = Metric(name="cpu_percent", datatype=DataType.DOUBLE, value=5.0)
    bd_seq = Metric(name=metrics.BDSEQ, datatype=DataType.INT64, value=0)
    birth = codec.encode(Payload(seq=0, metrics=(bd_seq, odd, good)))
    [seen] = HostState().receive("spBv1.0/f/NBIRTH/d", birth, 60.0)
    assert seen.values == {"cpu_percent": 5.0}
    store.apply(engine, [seen])
    assert queries.devices(engine)[0].cpu_percent == 5.0


@pytest.mark.parametrize(
    "topic", ["spBv1.0/+/NBIRTH/d", "spBv1.0/f/NBIRTH/#", "spBv1.0/f/NBIRTH/", "spBv1.0/f/NDATA/+"]
)
def test_a_topic_that_no_command_could_be_sent_to_is_dropped(topic: str) -> None:
    birth = EdgeNode("f", "d", 0).birth(_reading(1, 1), 10.0)[0]
    assert isinstance(HostState().receive(topic, birth.payload, 0.0)[0], Dropped)


def _huge(bucket: int, release: str = "r") -> Counters:
    counts = np.zeros(BUCKET_COUNT, np.uint64)
    counts[bucket] = 2**63 - 1
    return Counters(release, "e", 0, Histogram(counts, 2**63 - 1))


def test_counts_beyond_what_a_database_holds_are_dropped() -> None:
    node, host = EdgeNode("f", "d", 0), HostState()
    for buckets in (2, 3):  # numpy's sum of three begins at 0 again
        counts = np.zeros(BUCKET_COUNT, np.uint64)
        counts[:buckets] = 2**63 - 1
        totals = (Counters("r", "e", 0, Histogram(counts, 1)),)
        born = _receive(host, node.birth(Reading(1, {}, {"m": ModelReading({"release": "r"}, totals)}), 10.0))
        assert isinstance(born[1], Dropped)
    packed = counters.pack([Counters("r" * 1000, "e", 0, Histogram())])
    birth = Payload(seq=2, metrics=(Metric(name=metrics.COUNTERS, datatype=DataType.BYTES, value=packed),))
    assert isinstance(host.receive("spBv1.0/f/DBIRTH/d/m", codec.encode(birth), 0.0)[-1], Dropped)


def test_reports_that_fit_alone_but_not_together_change_nothing(engine: Engine) -> None:
    def seen(totals: Counters, device: str = "d") -> ModelSeen:
        return ModelSeen("f", device, "m", 60.0, {"release": "r"}, (totals,))

    store.apply(engine, [seen(_huge(0))])
    with pytest.raises(ValueError, match="beyond"):
        store.apply(engine, [seen(_huge(1))])
    store.apply(engine, [seen(_huge(0), device) for device in ("e", "g", "h")])
    shown = queries.fleet_model(engine, "m")
    assert shown is not None
    assert shown.predictions == 2**63 - 1, "no more than JSON can say"
    assert history.latency_series(engine, "m", device="f/d", since=0, until=120)[0].predictions == 2**63 - 1
    with TestClient(make_app(engine, {})) as client:
        assert client.get("/api/models/m").json()["devices"] == ["f/d", "f/e", "f/g", "f/h"]
        assert client.get("/metrics").status_code == 200


def test_a_model_that_is_only_counted_is_not_installed(engine: Engine) -> None:
    def installed() -> bool:
        [device] = queries.devices(engine)
        return device.models[0].installed

    store.apply(engine, [ModelSeen("f", "d", "m", 60.0, {"release": None}, _reading(1, 3).models["m"].totals)])
    assert not installed()
    store.apply(engine, [ModelSeen("f", "d", "m", 61.0, {"release": "r"}, ())])
    assert installed()
    store.apply(engine, [ModelSeen("f", "d", "m", 62.0, {"predictions": 4}, ())])
    assert installed()
    store.apply(engine, [ModelDied("f", "d", "m", 63.0)])
    assert not installed()


def test_a_death_notice_is_no_sign_of_life(engine: Engine) -> None:
    store.apply(engine, [NodeSeen("f", "d", 60.0, True, {"keep_alive_s": 1e12}), NodeDied("f", "never seen")])
    assert queries.devices(engine)[0].online
    store.apply(engine, [NodeDied("f", "d")])
    [device] = queries.devices(engine)
    assert (device.online, device.last_seen) == (False, 60.0)


def test_the_monitor_is_healthy_only_while_all_its_parts_are(engine: Engine) -> None:
    parts = {"broker": True, "ingest": True}
    with TestClient(make_app(engine, {name: lambda name=name: parts[name] for name in parts})) as client:
        assert client.get("/healthz").json() == {"status": "ok", "parts": parts}
        for name in parts:
            parts.update({"broker": True, "ingest": True, name: False})
            answer = client.get("/healthz")
            assert (answer.status_code, answer.json()) == (503, {"status": "failing", "parts": parts})


def test_a_store_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(MonitorError, match="cannot be opened"):
        store.open_engine(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder.db'}")
