"""The host and its store: gaps ask for a rebirth, old wills are ignored, totals are exact, garbage never raises."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edgeward.monitor import queries, store
from edgeward.monitor.host import Dropped, HostState, ModelSeen, NodeDied, NodeSeen, RebirthWanted
from edgeward_runtimes.latency.counters import Counters
from edgeward_runtimes.latency.histogram import Histogram
from edgeward_runtimes.sparkplug.session import EdgeNode, Message, ModelReading, Reading


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
    assert data[1].totals[0].predictions == 5


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
    assert _receive(host, [node.death(2)]) == [NodeDied("f", "d", 0.0)]


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
    series = queries.latency_series(engine, "f/d", "m", 0)
    assert sum(minute.predictions for minute in series) == count
    engine.dispose()


def test_a_store_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    import pytest

    from edgeward_runtimes.errors import MonitorError

    with pytest.raises(MonitorError, match="cannot be opened"):
        store.open_engine(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder.db'}")
