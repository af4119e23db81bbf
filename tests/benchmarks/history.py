"""A month of ten thousand devices: how long a chart's query takes, and rolling up an hour, on SQLite and PostgreSQL.

`python -m tests.benchmarks.history [--devices N] [--days N] [--write docs/performance.md]`

The stores are filled as roll-ups leave them: hours and days of every device and of the fleet, with the newest hour
there as minutes of every device alone. That hour is then rolled up, and the charts are asked for. What comes out is
compared with what was put in. Rows are made by the database itself (fourteen million of them are), in real
tables with real indexes; PostgreSQL runs with its own defaults (fsync on).
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, Engine, create_engine, text

from edgeward.monitor import history, schema
from edgeward.monitor.database import alone, open_engine, writing
from edgeward.monitor.rollups import roll_up, upsert
from edgeward.monitor.schema import DAY, FLEET, HOUR, MINUTE
from edgeward.monitor.sums import LatencySum
from edgeward_runtimes.latency.histogram import Histogram
from tests.benchmarks.document import table, write_part
from tests.benchmarks.machine import Neighbours, describe
from tests.postgres import running

_UNTIL = 20_000 * DAY
_SHAPES = 100  # different histograms; the number of devices is a multiple
_PER_HOUR = 60  # predictions of a device
_RUNS = 30
_LIMIT_MS = 200.0
_INTRODUCTION = """## A fleet's history

How long the monitor takes to answer what a page's chart asks, and to roll up an hour (`make bench-fleet`)."""


class Timed(NamedTuple):
    """What was done, in seconds: the median and the slowest."""

    what: str
    median_s: float
    slowest_s: float


def main() -> int:
    """Fill, measure and print; 1 when a chart takes too long."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--write", type=Path, metavar="PAGE")
    arguments = parser.parse_args()
    neighbours = Neighbours()
    found = {}
    for name, store in (("SQLite", _sqlite), ("PostgreSQL", _postgresql)):
        with store() as url:
            found[name] = _measure(open_engine(url), arguments.devices, arguments.days)
    part = _described(found, arguments.devices, arguments.days, neighbours.share())
    print(part)
    if arguments.write:
        write_part(arguments.write, "bench-history", part, _INTRODUCTION)
    charts = [each for timed in found.values() for each in timed if each.what.startswith("chart")]
    return int(any(1e3 * each.median_s > _LIMIT_MS for each in charts))


@contextlib.contextmanager
def _sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="edgeward-history-") as folder:
        yield f"sqlite:///{folder}/monitor.db"


@contextlib.contextmanager
def _postgresql() -> Iterator[str]:
    with running({"fsync": "on", "full_page_writes": "on"}) as server, server.database() as url:
        yield url


def _measure(engine: Engine, devices: int, days: int) -> list[Timed]:
    print(f"filling {engine.dialect.name} …", file=sys.stderr, flush=True)
    _fill(engine, devices, days)
    with _clock() as rolled, alone(engine, "upkeep") as connection:
        assert connection is not None
        roll_up(connection, _UNTIL + 2 * MINUTE)
    window = {"since": float(_UNTIL - days * DAY), "until": float(_UNTIL)}
    _check(engine, devices, days, window)
    device = f"f/{devices // 2:05}"
    charts: dict[str, Callable[[], object]] = {
        "chart: latency of a model, all devices": lambda: history.latency_series(engine, "m", **window),
        "chart: latency of one release, all devices": lambda: history.latency_series(
            engine, "m", release="r1", **window
        ),
        "chart: latency of a model, one device": lambda: history.latency_series(engine, "m", device=device, **window),
        "chart: health, all devices": lambda: history.health_series(engine, **window),
        "chart: health, one device": lambda: history.health_series(engine, device=device, **window),
    }
    one_hour = Timed("rolling up an hour of all devices", rolled[0], rolled[0])
    return [*(_timed(what, ask) for what, ask in charts.items()), one_hour]


def _timed(what: str, ask: Callable[[], object]) -> Timed:
    taken = []
    for _ in range(_RUNS):
        with _clock() as clock:
            ask()
        taken += clock
    return Timed(what, statistics.median(taken), max(taken))


@contextlib.contextmanager
def _clock() -> Iterator[list[float]]:
    taken: list[float] = []
    started = time.perf_counter()
    yield taken
    taken.append(time.perf_counter() - started)


def _check(engine: Engine, devices: int, days: int, window: dict[str, float]) -> None:
    """Everything that was put in comes out again, for the fleet and for one device."""
    for device, number in ((None, devices), ("f/00000", 1)):
        points = history.latency_series(engine, "m", device=device, **window)
        shown, expected = sum(each.predictions for each in points), number * days * 24 * _PER_HOUR
        if shown != expected:
            raise SystemExit(f"{engine.dialect.name}: {shown} predictions of {expected} are in the chart")
    readings = history.health_series(engine, device="f/00000", **window)
    if not readings or readings[-1].mean["cpu_percent"] is None:
        raise SystemExit(f"{engine.dialect.name}: there is no health in the chart")


def _fill(engine: Engine, devices: int, days: int) -> None:
    newest = _UNTIL - HOUR
    with engine.begin() as connection:
        _make_helpers(connection, devices)
        _fill_latency(connection, HOUR, range(_UNTIL - days * DAY, newest, HOUR), devices, 1)
        _fill_latency(connection, DAY, range(_UNTIL - days * DAY, _UNTIL - DAY, DAY), devices, 24)
        _fill_latency(connection, MINUTE, range(newest, _UNTIL, MINUTE), devices, 0)
        for resolution, starts, readings in (
            (HOUR, range(_UNTIL - days * DAY, newest, HOUR), 60),
            (DAY, range(_UNTIL - days * DAY, _UNTIL - DAY, DAY), 1_440),
            (MINUTE, range(newest, _UNTIL, MINUTE), 0),
        ):
            _fill_health(connection, resolution, starts, readings)
    changes = [
        {"series": series, "resolution": MINUTE, "start": start, "device_id": FLEET}
        for start in range(newest, _UNTIL, MINUTE)
        for series in ("latency", "health")
    ]
    horizons = [{"series": series, "resolution": MINUTE, "start": newest} for series in ("latency", "health")]
    with writing(engine) as connection:
        connection.execute(schema.changes.insert(), changes)
        connection.execute(schema.horizons.insert(), horizons)
    with create_engine(engine.url, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("ANALYZE"))


def _make_helpers(connection: Connection, devices: int) -> None:
    """Temporary tables to multiply: starts, devices, packed histograms of an hour, a day and a minute."""
    kind = "BYTEA" if connection.dialect.name == "postgresql" else "BLOB"
    connection.execute(text("CREATE TEMPORARY TABLE starts (start BIGINT, number INTEGER)"))
    connection.execute(text(f"CREATE TEMPORARY TABLE shapes (number INTEGER, times INTEGER, histogram {kind})"))
    named = [{"id": f"f/{number:05}", "device": f"{number:05}"} for number in range(devices)]
    rows = [{**each, "fleet": "f", "online": True, "last_seen": float(_UNTIL)} for each in named]
    connection.execute(schema.devices.insert(), rows)
    shapes = [
        {"number": number, "times": times, "histogram": _times(histogram, times).encode()}
        for number, histogram in enumerate(_shapes())
        for times in (0, 1, 24)
    ]
    connection.execute(text("INSERT INTO shapes VALUES (:number, :times, :histogram)"), shapes)


def _shapes() -> list[Histogram]:
    chance = np.random.default_rng(0)
    return [Histogram.of((5e6 * chance.lognormal(0, 0.4, _PER_HOUR)).astype(int).tolist()) for _ in range(_SHAPES)]


def _times(histogram: Histogram, times: int) -> Histogram:
    """An hour's histogram as often; 0: a minute's, one prediction."""
    if times:
        return Histogram(histogram.counts * np.uint64(times), histogram.sum_ns * times)
    return Histogram.of([histogram.sum_ns // _PER_HOUR])


def _fill_latency(connection: Connection, resolution: int, starts: range, devices: int, times: int) -> None:
    name, count = schema.latency[resolution].name, _PER_HOUR * times or 1
    _set_starts(connection, starts)
    release = "CASE WHEN starts.number < (SELECT max(number) FROM starts) / 2 THEN 'r0' ELSE 'r1' END"
    connection.execute(
        text(
            f"INSERT INTO {name} (start, device_id, model, release, predictions, errors, histogram)"
            f" SELECT starts.start, devices.id, 'm', {release}, {count}, 0, shapes.histogram FROM starts"
            f" CROSS JOIN devices JOIN shapes ON shapes.times = {times} AND"
            f" shapes.number = CAST(devices.device AS INTEGER) % {_SHAPES}"
        )
    )
    if times:
        total = LatencySum()
        for histogram in _shapes():
            packed = _times(histogram, times * (devices // _SHAPES)).encode()
            total.add(count * (devices // _SHAPES), 0, packed)
        half = (len(starts) - 1) // 2
        key = {"device_id": FLEET, "model": "m"}
        rows = [
            {"start": start, "release": "r0" if at < half else "r1", **key, **total.columns()}
            for at, start in enumerate(starts)
        ]
        upsert(connection, schema.latency[resolution], rows)


def _fill_health(connection: Connection, resolution: int, starts: range, readings: int) -> None:
    target = schema.health[resolution]
    filled = [column.name for column in target.c if column.name not in ("start", "device_id", "readings")][:12]
    names = ["start", "device_id", *(["readings"] if readings else []), *filled]
    _set_starts(connection, starts)
    values = ", ".join(f"20.5 + (starts.number + {at}) % 60" for at in range(len(filled)))
    values = f"{readings}, {values}" if readings else values
    ids = "SELECT id FROM devices" + (f" UNION ALL SELECT '{FLEET}'" if readings else "")
    connection.execute(
        text(
            f"INSERT INTO {target.name} ({', '.join(names)}) SELECT starts.start, ids.id, {values}"
            f" FROM starts CROSS JOIN ({ids}) AS ids"
        )
    )


def _set_starts(connection: Connection, starts: range) -> None:
    connection.execute(text("DELETE FROM starts"))
    rows = [{"start": start, "number": number} for number, start in enumerate(starts)]
    connection.execute(text("INSERT INTO starts VALUES (:start, :number)"), rows)


def _described(found: dict[str, list[Timed]], devices: int, days: int, others: float) -> str:
    header = ("milliseconds, median (slowest)", *found)
    rows = [
        (each[0].what, *(f"{1e3 * timed.median_s:,.0f} ({1e3 * timed.slowest_s:,.0f})" for timed in each))
        for each in zip(*found.values(), strict=True)
    ]
    return (
        f"{devices:,} devices, {days} days, {_RUNS} runs of each chart. {describe()}."
        f" Others had {others:.0%} of the processors meanwhile.\n\n{table(header, rows)}"
    )


if __name__ == "__main__":
    sys.exit(main())
