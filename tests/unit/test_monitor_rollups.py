"""Roll-ups and history: whatever comes when, and whatever is killed, hours, days and the fleet are sums of minutes."""

import itertools
import random
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, event, func, insert, select

from edgeward.monitor import history, schema
from edgeward.monitor.config import MonitorConfig, RetentionConfig, StoreConfig
from edgeward.monitor.database import alone, open_engine, writing
from edgeward.monitor.history import Part, Plan, plan
from edgeward.monitor.retention import delete_old
from edgeward.monitor.rollups import roll_up, upsert
from edgeward.monitor.schema import DAY, FLEET, HOUR, MINUTE
from edgeward.monitor.sums import LARGEST, LatencySum
from edgeward.monitor.upkeep import keep_up
from edgeward_runtimes.latency.histogram import Histogram
from tests.conftest import wait_for
from tests.postgres import Postgres

_T0 = 20_000 * DAY
_KEPT = RetentionConfig()


@pytest.fixture
def engine(store_url: str) -> Engine:
    return open_engine(store_url)


def _write(engine: Engine, series: str, rows: Iterable[Mapping[str, Any]], device_id: str = FLEET) -> None:
    """As ingest does: rows by the minute, and what they change."""
    table = getattr(schema, series)[MINUTE]
    whole = [{**dict.fromkeys(table.c.keys()), **row} for row in rows]
    starts = sorted({row["start"] for row in whole})
    change = {"series": series, "resolution": MINUTE, "device_id": device_id}
    with writing(engine) as connection:
        upsert(connection, table, whole)
        connection.execute(insert(schema.changes), [{**change, "start": start} for start in starts])


def _latency(start: int, device: str, *milliseconds: int, release: str = "r", errors: int = 0) -> dict[str, Any]:
    histogram = Histogram.of([each * 1_000_000 for each in milliseconds]).encode()
    counted = {"predictions": len(milliseconds), "errors": errors, "histogram": histogram}
    return {"start": start, "device_id": device, "model": "m", "release": release, **counted}


def _roll_up(engine: Engine, now: float) -> int:
    with alone(engine, "upkeep") as connection:
        assert connection is not None
        return roll_up(connection, now)


def _rows(engine: Engine, series: str, resolution: int) -> dict[tuple[Any, ...], dict[str, Any]]:
    table = getattr(schema, series)[resolution]
    with engine.connect() as connection:
        found = connection.execute(select(table)).mappings().all()
    return {tuple(row[column.name] for column in table.primary_key): dict(row) for row in found}


def _summed(engine: Engine, resolution: int) -> dict[tuple[Any, ...], tuple[int, int, bytes]]:
    rows = _rows(engine, "latency", resolution)
    return {key: (row["predictions"], row["errors"], row["histogram"]) for key, row in rows.items()}


def _expected(minutes: Iterable[Mapping[str, Any]], period: int, *, fleet: bool = True) -> dict[Any, Any]:
    """Sums over minutes, by numpy's histograms instead of ours."""
    sums: dict[Any, tuple[int, int, Histogram]] = {}
    for row in minutes:
        for device in (row["device_id"], FLEET) if fleet else (row["device_id"],):
            key = (row["start"] // period * period, device, row["model"], row["release"])
            predictions, errors, histogram = sums.get(key, (0, 0, Histogram()))
            merged = histogram.merge(Histogram.decode(row["histogram"]))
            sums[key] = (predictions + row["predictions"], errors + row["errors"], merged)
    return {key: (predictions, errors, merged.encode()) for key, (predictions, errors, merged) in sums.items()}


def _some_minutes(seed: int = 0) -> list[dict[str, Any]]:
    """Minutes of three devices and two releases over two days, a few of each hour."""
    chance = random.Random(seed)
    starts = sorted(chance.sample(range(_T0, _T0 + 2 * DAY, MINUTE), 30))
    return [
        _latency(
            start, device, *(chance.randint(1, 50) for _ in range(3)), release=release, errors=chance.randint(0, 2)
        )
        for start in starts
        for device, release in (("f/a", "r1"), ("f/b", "r1"), ("f/b", "r2"))
    ]


def test_hours_days_and_the_fleet_are_the_sums_of_all_minutes(engine: Engine) -> None:
    minutes = _some_minutes()
    _write(engine, "latency", minutes)
    _roll_up(engine, _T0 + 3 * DAY)
    for period in (MINUTE, HOUR, DAY):
        assert _summed(engine, period) == _expected(minutes, period)
    assert _roll_up(engine, _T0 + 3 * DAY) == 0, "nothing is left to do"


def test_a_period_is_rolled_up_when_it_is_over_and_not_before(engine: Engine) -> None:
    minutes = [_latency(_T0, "f/a", 1), _latency(_T0 + HOUR, "f/a", 2)]
    _write(engine, "latency", minutes)
    _roll_up(engine, _T0 + HOUR + 30)
    assert _summed(engine, HOUR) == _expected(minutes[:1], HOUR)
    assert len(_summed(engine, MINUTE)) == 3, "of the second minute there is no fleet's row yet"
    _roll_up(engine, _T0 + 2 * HOUR + 30)
    assert _summed(engine, HOUR) == _expected(minutes, HOUR)
    assert _summed(engine, DAY) == {}
    _roll_up(engine, _T0 + DAY + 30)
    assert _summed(engine, DAY) == _expected(minutes, DAY)


def test_late_minutes_have_their_hour_and_day_made_again(engine: Engine) -> None:
    minutes = _some_minutes()
    early, late = minutes[::2], minutes[1::2]
    _write(engine, "latency", early)
    _roll_up(engine, _T0 + 3 * DAY)
    assert _summed(engine, DAY) == _expected(early, DAY)
    _write(engine, "latency", late)
    _roll_up(engine, _T0 + 3 * DAY)
    for period in (MINUTE, HOUR, DAY):
        assert _summed(engine, period) == _expected(minutes, period)


def test_readings_keep_their_mean_and_their_largest_for_each_device_and_the_fleet(engine: Engine) -> None:
    cool = [{"start": _T0 + n * MINUTE, "device_id": "f/a", "temperature_c": 40.0 + n} for n in range(3)]
    hot = [{"start": _T0, "device_id": "f/b", "temperature_c": 90.0}]
    silly = [{"start": _T0 + MINUTE, "device_id": "f/c", "temperature_c": 1e308, "cpu_percent": 7.0}]
    silly += [{**silly[0], "start": _T0}]
    _write(engine, "health", [*cool, *hot, *silly])
    _roll_up(engine, _T0 + 2 * DAY)
    for period in (HOUR, DAY):
        shown = {
            key[1]: (row["readings"], row["temperature_c"], row["temperature_c_max"], row["cpu_percent"])
            for key, row in _rows(engine, "health", period).items()
        }
        assert shown == {
            "f/a": (3, 41.0, 42.0, None),
            "f/b": (1, 90.0, 90.0, None),
            "f/c": (2, None, None, 7.0),
            FLEET: (6, pytest.approx((40.0 + 41.0 + 42.0 + 90.0) / 4), 90.0, 7.0),
        }


def test_history_of_one_device_does_not_have_the_others_made_again(engine: Engine) -> None:
    _write(engine, "health", [{"start": _T0, "device_id": name, "cpu_percent": 10.0} for name in ("f/a", "f/b")])
    _roll_up(engine, _T0 + 2 * DAY)
    table = schema.health[HOUR]
    with writing(engine) as connection:  # would be put right if it were made again
        connection.execute(table.update().where(table.c.device_id == "f/b").values(load_1m=99.0))
    _write(engine, "health", [{"start": _T0 + MINUTE, "device_id": "f/a", "cpu_percent": 30.0}], "f/a")
    _roll_up(engine, _T0 + 2 * DAY)
    rows = {key[1]: row for key, row in _rows(engine, "health", HOUR).items()}
    assert (rows["f/a"]["cpu_percent"], rows["f/b"]["load_1m"], rows[FLEET]["readings"]) == (20.0, 99.0, 3)
    assert {key[1]: row["readings"] for key, row in _rows(engine, "health", DAY).items()} == {
        "f/a": 2,
        "f/b": 1,
        FLEET: 3,
    }


def test_more_devices_than_are_read_at_once_are_all_rolled_up(engine: Engine) -> None:
    names = [f"f/{number:04}" for number in range(1_203)]
    with writing(engine) as connection:
        rows = [{"id": name, "fleet": "f", "device": name[2:], "online": True, "last_seen": 0.0} for name in names[3:]]
        connection.execute(insert(schema.devices), rows)
        upsert(connection, schema.latency[MINUTE], [_latency(_T0, name, 5) for name in names])
        change = {"series": "latency", "resolution": MINUTE, "start": _T0, "device_id": FLEET}
        connection.execute(insert(schema.changes), change)
    _roll_up(engine, _T0 + DAY)
    hours = _summed(engine, HOUR)
    assert len(hours) == len(names) + 1
    assert hours[_T0, FLEET, "m", "r"][0] == len(names)


def test_counts_beyond_what_a_database_holds_are_the_most_that_it_holds(engine: Engine) -> None:
    huge = msgspec.msgpack.encode([LARGEST, 3, LARGEST])
    rows = [{**_latency(_T0, name), "predictions": LARGEST, "histogram": huge} for name in ("f/a", "f/b", "f/c")]
    _write(engine, "latency", rows)
    _roll_up(engine, _T0 + 2 * DAY)
    assert _summed(engine, DAY)[_T0, FLEET, "m", "r"] == (LARGEST, 0, huge)
    [point] = history.latency_series(engine, "m", since=_T0, until=_T0 + DAY, at_most_points=2)
    assert point.predictions == LARGEST


def test_upkeep_killed_in_its_work_and_run_twice_at_once_loses_and_doubles_nothing(store_url: str) -> None:
    engine = open_engine(store_url)
    minutes = _some_minutes()
    config = MonitorConfig(store=StoreConfig(url=store_url, retention=RetentionConfig(minutes=36_500, hours=36_500)))
    command = [sys.executable, "-m", "edgeward.monitor.upkeep", msgspec.json.encode(config).decode()]
    for piece in (minutes[::2], minutes[1::2]):
        _write(engine, "latency", piece)
        left = _changes(engine)
        both = [subprocess.Popen(command) for _ in range(2)]
        wait_for(lambda left=left: _changes(engine) < left, "the first minute to be rolled up")
        for upkeep in both:
            upkeep.kill()
            upkeep.wait()
    wait_for(lambda: _is_free(engine), "the database to see that they are gone")
    _roll_up(engine, time.time())
    for period in (MINUTE, HOUR, DAY):
        assert _summed(engine, period) == _expected(minutes, period)


def test_upkeep_whose_database_goes_away_in_its_work_goes_on_when_it_is_back(
    postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    with postgres.database() as url:
        engine, minutes = open_engine(url), _some_minutes()
        config = MonitorConfig(store=StoreConfig(url=url, retention=RetentionConfig(minutes=36_500, hours=36_500)))
        _write(engine, "latency", minutes)
        left = itertools.count(20, -1)

        def cut(connection: Connection, *_: object) -> None:
            if next(left) == 0:
                postgres.end_sessions()

        event.listen(engine, "before_cursor_execute", cut)
        keep_up(engine, config, _T0 + 3 * DAY)
        assert "the store fails, trying again" in caplog.text
        keep_up(engine, config, _T0 + 3 * DAY)
        assert _summed(engine, DAY) == _expected(minutes, DAY)
        engine.dispose()


def _changes(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(schema.changes)).scalar_one()


def _is_free(engine: Engine) -> bool:
    with alone(engine, "upkeep") as connection:
        return connection is not None


def test_a_roll_up_that_fails_at_any_statement_is_finished_by_a_later_one(engine: Engine) -> None:
    left, failures = 0, 0

    def fail(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    minutes = _some_minutes()
    event.listen(engine, "before_cursor_execute", fail)
    for number, row in enumerate(minutes[:30]):
        _write(engine, "latency", [row])
        left = number + 1
        try:
            _roll_up(engine, _T0 + 3 * DAY)
        except KeyboardInterrupt:
            failures += 1
        left = 0
    assert failures > 20
    _roll_up(engine, _T0 + 3 * DAY)
    for period in (MINUTE, HOUR, DAY):
        assert _summed(engine, period) == _expected(minutes[:30], period)


def test_retention_deletes_by_resolution_and_leaves_totals_and_sums_alone(engine: Engine) -> None:
    minutes = _some_minutes()
    _write(engine, "latency", minutes)
    with writing(engine) as connection:
        line = {"device_id": "f/a", "level": "WARNING", "logger": "l", "text": "t"}
        connection.execute(insert(schema.logs), [{**line, "at": float(_T0 + at)} for at in (0, 29 * DAY)])
        key = {"device_id": "f/a", "model": "m", "release": "r", "epoch": "e"}
        connection.execute(insert(schema.counters), {**key, "predictions": 1, "errors": 0, "histogram": b"\x91\0"})
    now = _T0 + 3 * DAY + 12 * HOUR
    _delete_old(engine, now)
    left = [row for row in minutes if row["start"] >= now - 2 * DAY]
    assert _summed(engine, MINUTE) == _expected(left, MINUTE)
    assert _summed(engine, HOUR) == _expected(minutes, HOUR)
    _delete_old(engine, _T0 + 61 * DAY)
    assert _summed(engine, MINUTE) == {}
    assert _summed(engine, HOUR) == _expected([row for row in minutes if row["start"] >= _T0 + DAY], HOUR)
    assert _summed(engine, DAY) == _expected(minutes, DAY)
    with engine.connect() as connection:
        assert connection.execute(select(schema.logs.c.at)).scalars().all() == []
        assert len(connection.execute(select(schema.counters)).all()) == 1


def _delete_old(engine: Engine, now: float) -> None:
    with alone(engine, "upkeep") as connection:
        assert connection is not None
        roll_up(connection, now)
        delete_old(connection, _KEPT, now)


def test_a_minute_later_than_retention_changes_no_sum(engine: Engine) -> None:
    minutes = _some_minutes()
    _write(engine, "latency", minutes)
    _delete_old(engine, _T0 + 10 * DAY)
    _write(engine, "latency", [_latency(minutes[0]["start"], "f/a", 7, release="r1")])
    _delete_old(engine, _T0 + 10 * DAY)
    assert _summed(engine, MINUTE) == {}
    for period in (HOUR, DAY):
        assert _summed(engine, period) == _expected(minutes, period)


def test_deletion_of_many_rows_is_done_in_pieces_that_leave_none(engine: Engine) -> None:
    rows = [_latency(_T0 + minute * MINUTE, f"f/{number}", 1) for minute in range(6) for number in range(2_000)]
    with writing(engine) as connection:
        upsert(connection, schema.latency[MINUTE], rows)
    with alone(engine, "upkeep") as connection:
        assert connection is not None
        assert delete_old(connection, _KEPT, _T0 + 10 * DAY) == len(rows)
    assert _summed(engine, MINUTE) == {}


@pytest.mark.parametrize(("window", "step"), [(6 * HOUR, MINUTE), (2 * DAY, 6 * MINUTE), (30 * DAY, 2 * HOUR)])
@pytest.mark.parametrize("rolled_up", [False, True])
def test_a_chart_shows_all_of_a_window_whether_rolled_up_or_not(
    engine: Engine, window: int, step: int, rolled_up: bool
) -> None:
    minutes = [*_some_minutes(), *(_latency(_T0 + 2 * DAY - each * MINUTE, "f/a", 8) for each in (1, 2, 90))]
    _write(engine, "latency", minutes)
    until = _T0 + 2 * DAY
    if rolled_up:
        _roll_up(engine, until + 30)
    since = until - window
    for device in ("f/a", "f/b") if not rolled_up else ("f/a", "f/b", None):
        points = history.latency_series(engine, "m", device=device, since=since, until=until)
        ours = [row for row in minutes if row["start"] >= since and device in (None, row["device_id"])]
        merged = [{**row, "device_id": device or FLEET, "release": "r"} for row in ours]
        shown = {each.start: (each.predictions, each.errors) for each in points}
        assert shown == {key[0]: each[:2] for key, each in _expected(merged, step, fleet=False).items()}
        assert {each.seconds for each in points} == {step}


def test_releases_are_compared_over_time_and_together_they_are_the_model(engine: Engine) -> None:
    minutes = [_latency(_T0, "f/a", 1, 1, release="old"), _latency(_T0, "f/b", 9, 9, 9, release="new", errors=1)]
    _write(engine, "latency", minutes)
    _roll_up(engine, _T0 + 2 * DAY)
    window = {"since": _T0, "until": _T0 + DAY, "at_most_points": 30}
    [old] = history.latency_series(engine, "m", release="old", **window)
    [new] = history.latency_series(engine, "m", release="new", **window)
    [both] = history.latency_series(engine, "m", **window)
    assert (old.predictions, new.predictions, new.errors, both.predictions) == (2, 3, 1, 5)
    assert old.p99_ms == pytest.approx(1.0, rel=0.03)
    assert both.p50_ms == new.p50_ms == pytest.approx(9.0, rel=0.03)
    assert history.latency_series(engine, "m", release="none", **window) == []


def test_health_over_a_window_has_means_that_count_for_as_many_readings_as_they_are_of(engine: Engine) -> None:
    rows = [{"start": _T0 + n * MINUTE, "device_id": "f/a", "cpu_percent": 10.0} for n in range(60)]
    rows += [{"start": _T0 + HOUR, "device_id": "f/a", "cpu_percent": 71.0}]
    _write(engine, "health", rows)
    for _ in range(2):
        [point] = history.health_series(engine, device="f/a", since=_T0, until=_T0 + DAY, at_most_points=2)
        assert (point.mean["cpu_percent"], point.largest["cpu_percent"]) == (pytest.approx(11.0), 71.0)
        assert point.mean["power_w"] is None
        _roll_up(engine, _T0 + HOUR + 30)  # now a part is read by the hour and the rest by the minute
    _roll_up(engine, _T0 + 2 * DAY)
    [fleet] = history.health_series(engine, since=_T0, until=_T0 + DAY, at_most_points=2)
    assert (fleet.mean["cpu_percent"], fleet.seconds) == (pytest.approx(11.0), DAY)


def test_drift_is_kept_by_model(engine: Engine) -> None:
    row = {"start": _T0, "device_id": "f/a", "model": "m", "drift_score": 0.3}
    _write(engine, "observed", [row, {**row, "device_id": "f/b", "drift_score": 0.1}, {**row, "model": "other"}])
    _roll_up(engine, _T0 + 2 * DAY)
    window = {"since": _T0, "until": _T0 + DAY, "at_most_points": 24}
    [fleet] = history.observed_series(engine, "m", **window)
    assert (fleet.mean["drift_score"], fleet.largest["drift_score"]) == (pytest.approx(0.2), 0.3)
    [device] = history.observed_series(engine, "m", device="f/b", **window)
    assert device.mean == {"drift_score": 0.1, "mean_confidence": None, "accuracy": None}


def test_an_older_window_is_read_where_retention_has_left_it(engine: Engine) -> None:
    minutes = _some_minutes()
    _write(engine, "latency", minutes)
    _delete_old(engine, _T0 + 10 * DAY)
    points = history.latency_series(engine, "m", since=_T0, until=_T0 + 12 * HOUR)
    assert {each.seconds for each in points} == {HOUR}, "minutes are gone"
    _delete_old(engine, _T0 + 100 * DAY)
    points = history.latency_series(engine, "m", since=_T0, until=_T0 + 2 * DAY)
    assert sum(each.predictions for each in points) == sum(row["predictions"] for row in minutes)


@given(
    since=st.integers(0, 10**9),
    length=st.floats(0, 5e8),
    at_most_points=st.integers(1, 2_000),
    finest=st.sampled_from((MINUTE, HOUR)),
    undone=st.tuples(*[st.none() | st.integers(0, 2 * 10**9)] * 3),
)
def test_a_plan_covers_its_window_once_in_no_more_points_than_fit(
    since: int, length: float, at_most_points: int, finest: int, undone: tuple[int | None, ...]
) -> None:
    until = since + length
    resolutions = (MINUTE, HOUR, DAY)
    rolled = {each: until if at is None else at // each * each for each, at in zip(resolutions, undone, strict=True)}
    chosen = plan(
        since, until, at_most_points, finest=finest, begins=dict.fromkeys(resolutions, 0), rolled_until=rolled
    )
    if length == 0:
        return
    borders = [(part.start, part.end) for part in chosen.parts]
    assert borders[0][0] <= since < borders[0][0] + chosen.step
    assert borders[-1][1] >= until
    assert all(before[1] == after[0] for before, after in itertools.pairwise(borders))
    assert all(part.start % part.resolution == 0 == chosen.step % part.resolution for part in chosen.parts)
    if at_most_points > 1:
        assert len(range(chosen.parts[0].start, chosen.parts[-1].end, chosen.step)) <= at_most_points + 1


def test_a_month_is_read_by_the_hour_and_its_end_by_the_minute() -> None:
    until = 30 * DAY + 20 * MINUTE
    rolled = {MINUTE: until, HOUR: 30 * DAY, DAY: 29 * DAY}
    chosen = plan(0, until, 800, finest=MINUTE, begins=dict.fromkeys(rolled, 0), rolled_until=rolled)
    assert chosen == Plan(HOUR, (Part(HOUR, 0, 30 * DAY), Part(MINUTE, 30 * DAY, until)))


@given(st.lists(st.lists(st.integers(1, 10**12), max_size=20), max_size=5))
def test_sums_are_what_merged_histograms_are(latencies: list[list[int]]) -> None:
    total, merged = LatencySum(), Histogram()
    for each in latencies:
        histogram = Histogram.of(each)
        total.add(histogram.count, 0, histogram.encode())
        merged = merged.merge(histogram)
    assert total.histogram == merged
    assert total.columns() == {"predictions": merged.count, "errors": 0, "histogram": merged.encode()}
