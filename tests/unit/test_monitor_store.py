"""Writing batches, on SQLite and PostgreSQL: exact totals whoever writes beside us, each row once, nothing half."""

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select, text

from edgeward.monitor import schema, store
from edgeward.monitor.database import open_engine
from edgeward.monitor.totals import LARGEST_COUNT, Reported, Totals
from edgeward.monitor.updates import (
    Dropped,
    HistorySeen,
    LogLine,
    LogsSeen,
    ModelDied,
    ModelsAre,
    ModelSeen,
    NodeDied,
    NodeSeen,
    Update,
)


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    engine = open_engine(store_url)
    yield engine
    engine.dispose()


def _counted(device: str, counts: dict[int, int], at: float = 60.0, errors: int = 0, release: str = "r") -> ModelSeen:
    totals = Totals.of(errors, 1000 * sum(counts.values()), counts)
    return ModelSeen("f", device, "m", at, {"release": release}, (Reported(release, "e", totals),))


def _totals(engine: Engine, table: object) -> dict[str, Totals]:
    """By device, over all rows."""
    found: dict[str, Totals] = {}
    with engine.connect() as connection:
        for row in connection.execute(select(table)):  # type: ignore[call-overload]
            totals = Totals.decode(row.errors, row.histogram)
            assert row.predictions == totals.predictions
            found[row.device_id] = totals.merge(found.get(row.device_id, Totals()))
    return found


def _plain(totals: Totals) -> tuple[int, int, dict[int, int]]:
    return totals.errors, totals.sum_ns, {bucket: count for bucket, count in totals.by_bucket.items() if count}


counts = st.dictionaries(st.integers(0, 4), st.integers(0, 9), max_size=3)
reports = st.tuples(st.sampled_from("ab"), counts, st.sampled_from([60.0, 61.0, 130.0]), st.integers(0, 5))


@settings(max_examples=15)
@given(st.lists(st.lists(reports, min_size=1, max_size=4), min_size=1, max_size=4), st.booleans())
def test_counters_are_the_largest_and_the_series_what_was_new(store_url: str, batches: list, is_alone: bool) -> None:
    engine = open_engine(store_url)
    with engine.begin() as connection:
        for table in (schema.counters, schema.latency[60]):
            connection.execute(table.delete())
    writer = store.Writer(engine, is_alone=is_alone)
    expected: dict[str, Totals] = {}
    for batch in batches:
        seen = [_counted(*report) for report in batch]
        writer.apply(seen)
        for each in seen:
            key = f"f/{each.device}"
            expected[key] = expected.get(key, Totals()).later(each.totals[0].totals)
    plain = {key: _plain(totals) for key, totals in expected.items()}
    assert {key: _plain(totals) for key, totals in _totals(engine, schema.counters).items()} == plain
    series = {key: _plain(totals) for key, totals in _totals(engine, schema.latency[60]).items()}
    assert series == {key: totals for key, totals in plain.items() if key in series}
    assert all(totals == (0, 0, {}) for key, totals in plain.items() if key not in series)
    engine.dispose()


def test_writers_beside_each_other_lose_nothing_and_count_nothing_twice(store_url: str) -> None:
    devices, rounds = [str(number) for number in range(8)], 12
    failures: list[BaseException] = []

    def write(worker: int) -> None:
        engine = open_engine(store_url)
        try:
            for step in range(1, rounds + 1):  # each worker has its own bucket: a lost update would show
                order = devices[worker:] + devices[:worker]
                store.apply(engine, [_counted(device, {worker: step}, errors=step) for device in order])
        except BaseException as error:
            failures.append(error)
        engine.dispose()

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    engine = open_engine(store_url)
    whole = dict.fromkeys(range(4), rounds)
    for table in (schema.counters, schema.latency[60]):
        found = _totals(engine, table)
        assert {key: totals.by_bucket for key, totals in found.items()} == {f"f/{device}": whole for device in devices}
        assert all(totals.errors == rounds for totals in found.values())
    engine.dispose()


def test_a_batch_that_fails_changes_nothing_and_is_not_remembered(engine: Engine) -> None:
    writer = store.Writer(engine, is_alone=True)
    writer.apply([_counted("d", {0: 5})])
    with pytest.raises(ValueError, match="beyond"):
        writer.apply([_counted("d", {0: 7}), _counted("e", {0: LARGEST_COUNT}), _counted("e", {1: 1})])
    assert _totals(engine, schema.counters)["f/d"].by_bucket == {0: 5}
    writer.apply([_counted("d", {0: 8})])
    assert _totals(engine, schema.counters)["f/d"].by_bucket == {0: 8}
    assert _totals(engine, schema.latency[60])["f/d"].by_bucket == {0: 8}


def test_a_batch_says_which_minutes_are_to_be_rolled_up(engine: Engine) -> None:
    observed = ModelSeen("f", "d", "m", 125.0, {"release": "r", "drift_score": 0.4}, ())
    health = NodeSeen("f", "d", 61.0, False, {"cpu_percent": 5.0, "power_w": 2.0})
    history = HistorySeen("f", "d", 1.0, {"cpu_percent": 1.0})
    store.apply(engine, [_counted("d", {0: 1}, at=190.0), observed, health, history])
    with engine.connect() as connection:
        columns = (schema.changes.c.series, schema.changes.c.start, schema.changes.c.device_id)
        assert sorted(map(tuple, connection.execute(select(*columns)))) == [
            ("health", 0, "f/d"),
            ("health", 60, ""),
            ("latency", 180, ""),
            ("observed", 120, ""),
        ]
        assert connection.execute(select(schema.observed[60].c.drift_score)).scalar_one() == 0.4
        assert (
            connection.execute(select(schema.health[60].c.power_w).where(schema.health[60].c.start == 60)).scalar() == 2
        )


def _device(engine: Engine, name: str = "d") -> object:
    with engine.connect() as connection:
        return connection.execute(select(schema.devices).where(schema.devices.c.id == f"f/{name}")).one()


def test_of_a_devices_values_the_later_wins_within_a_batch_too(engine: Engine) -> None:
    store.apply(
        engine,
        [
            NodeSeen("f", "d", 10.0, True, {"cpu_percent": 1.0, "target": "pi"}, -5.0),
            NodeSeen("f", "d", 11.0, False, {"cpu_percent": None, "Node Control/Reporting Interval": 3.0}),
            NodeDied("f", "d"),
            NodeDied("f", "unknown"),
        ],
    )
    row = _device(engine)
    assert (row.online, row.last_seen, row.born_at, row.clock_skew_s) == (False, 11.0, 10.0, -5.0)
    assert (row.cpu_percent, row.target, row.interval_s) == (None, "pi", 3.0)
    store.apply(engine, [NodeDied("f", "d"), NodeSeen("f", "d", 12.0, False, {})])
    assert _device(engine).online
    with engine.connect() as connection:
        assert connection.execute(select(schema.devices.c.id)).scalars().all() == ["f/d"]


def _installed(engine: Engine) -> dict[str, bool]:
    with engine.connect() as connection:
        return dict(map(tuple, connection.execute(select(schema.models.c.model, schema.models.c.installed))))


def test_models_that_a_device_no_longer_tells_of_are_not_installed(engine: Engine) -> None:
    def seen(model: str) -> ModelSeen:
        return ModelSeen("f", "d", model, 60.0, {"release": "r"}, ())

    store.apply(engine, [seen("a"), seen("b"), seen("c"), ModelDied("f", "d", "c", 60.0)])
    assert _installed(engine) == {"a": True, "b": True, "c": False}
    store.apply(engine, [ModelSeen("f", "d", "a", 61.0, {"drift_score": 0.1}, ())])
    store.apply(engine, [ModelSeen("f", "d", "unborn", 61.0, {"drift_score": 0.1}, ())])
    assert _installed(engine) == {"a": True, "b": True, "c": False, "unborn": False}
    store.apply(engine, [seen("new"), ModelsAre("f", "d", frozenset({"a", "later"})), seen("later")])
    gone = dict.fromkeys(("b", "c", "unborn", "new"), False)
    assert _installed(engine) == {"a": True, "later": True, **gone}


def test_log_lines_and_dropped_messages_are_kept(engine: Engine) -> None:
    lines = (LogLine(5.0, "ERROR", "a.b", "first"), LogLine(5.0, "WARNING", "", "second"))
    updates: list[Update] = [LogsSeen("f", "d", lines), Dropped("x"), Dropped("y")]
    store.apply(engine, updates)
    store.apply(engine, [Dropped("z")])
    with engine.connect() as connection:
        logs = connection.execute(select(schema.logs).order_by(schema.logs.c.id)).all()
        assert [(row.device_id, row.level, row.text) for row in logs] == [
            ("f/d", "ERROR", "first"),
            ("f/d", "WARNING", "second"),
        ]
        assert connection.execute(text("SELECT count FROM ingest WHERE name = 'dropped'")).scalar_one() == 3


@pytest.mark.parametrize(
    ("told", "patience_s"),
    [({"keep_alive_s": 30.0, "Node Control/Reporting Interval": 10.0}, 45.0), ({"keep_alive_s": 10.0}, 15.0)],
)
def test_a_device_is_offline_after_one_and_a_half_of_the_longer_of_its_times(
    engine: Engine, told: dict, patience_s: float
) -> None:
    store.apply(engine, [NodeSeen("f", "d", 1000.0, True, told), NodeSeen("f", "third party", 1000.0, True, {})])
    store.mark_silent(engine, 1000.0 + patience_s - 0.1, heard_since=0.0)
    assert _device(engine).online
    store.mark_silent(engine, 5000.0, heard_since=4999.0)
    assert _device(engine).online, "nobody could be heard before"
    store.mark_silent(engine, 1000.1 + patience_s, heard_since=0.0)
    assert not _device(engine).online
    assert _device(engine, "third party").online, "it has not said how often it speaks"
