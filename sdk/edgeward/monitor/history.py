"""Series over any window, for charts: of a device or the whole fleet, in as many points as fit.

A long window is read by the hour or the day, and only what has not been rolled up yet by the next finer resolution: a
chart goes up to now, and thirty days of ten thousand devices are 720 rows. Points begin at multiples of their
length, so they stay what they are while a window moves on. Points in which nothing came are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, Engine, Table, func, literal, select

from edgeward.monitor.rollups import horizon
from edgeward.monitor.schema import DAY, FLEET, HOUR, MINUTE, changes
from edgeward.monitor.series import HEALTH, LATENCY, OBSERVED, Series, value_columns
from edgeward.monitor.sums import LatencySum

_STARTS_AT_ONCE = 5_000
_MOST_POINTS = 5_000  # whatever is asked for


@dataclass(frozen=True)
class LatencyPoint:
    """What came in `seconds` from `start` (Unix seconds) on."""

    start: int
    seconds: int
    predictions: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True)
class ReadingsPoint:
    """Readings in `seconds` from `start` (Unix seconds) on, by name: mean and largest; None: none came."""

    start: int
    seconds: int
    mean: dict[str, float | None]
    largest: dict[str, float | None]


class Part(Struct, frozen=True):
    """A stretch of a window that is read at one resolution; `end` is no longer in it."""

    resolution: int
    start: int
    end: int


class Plan(Struct, frozen=True):
    """How a window is read, and how long its points are, in seconds."""

    step: int
    parts: tuple[Part, ...]


def latency_series(
    engine: Engine,
    model: str,
    *,
    device: str | None = None,
    release: str | None = None,
    since: float,
    until: float,
    at_most_points: int = 500,
) -> list[LatencyPoint]:
    """A model's latencies over a window, from merged histograms.

    Args:
        engine: The store.
        model: Its name.
        device: A device's id; None: the whole fleet, whose newest minute comes when it is over.
        release: Only this release; None: all together.
        since: Unix seconds.
        until: Unix seconds; no longer in it.
        at_most_points: How many fit.
    """
    key = {"device_id": device or FLEET, "model": model, **({} if release is None else {"release": release})}
    sums: dict[int, LatencySum] = {}
    with engine.connect() as connection:
        chosen = _plan(connection, LATENCY, MINUTE, since, until, at_most_points)
        for part in chosen.parts:
            table = LATENCY.tables[part.resolution]
            counted = (table.c.start, table.c.predictions, table.c.errors, table.c.histogram)
            for start, predictions, errors, histogram in _rows(connection, table, part, counted, key):
                total = sums.setdefault(start // chosen.step * chosen.step, LatencySum())
                total.add(predictions, errors, histogram)
    return [_latency_point(start, chosen.step, total) for start, total in sorted(sums.items())]


def health_series(
    engine: Engine,
    *,
    device: str | None = None,
    since: float,
    until: float,
    at_most_points: int = 500,
) -> list[ReadingsPoint]:
    """A device's health over a window, or the whole fleet's: that by the hour, when the hour is over."""
    return _readings(engine, HEALTH, {"device_id": device or FLEET}, since, until, at_most_points)


def observed_series(
    engine: Engine,
    model: str,
    *,
    device: str | None = None,
    since: float,
    until: float,
    at_most_points: int = 500,
) -> list[ReadingsPoint]:
    """What a model's data looked like over a window, on a device or on all: that by the hour, when the hour is over."""
    return _readings(engine, OBSERVED, {"device_id": device or FLEET, "model": model}, since, until, at_most_points)


def plan(
    since: float,
    until: float,
    at_most_points: int,
    *,
    finest: int,
    begins: dict[int, int],
    rolled_until: dict[int, float],
) -> Plan:
    """Choose the points' length and the resolutions to read.

    Args:
        since: Of the window, Unix seconds.
        until: Of the window, Unix seconds.
        at_most_points: How many fit.
        finest: The finest resolution that there is.
        begins: Where a resolution's rows begin, by retention.
        rolled_until: From where on a resolution's rows are not all made yet.
    """
    wanted = max(0.0, until - since) / max(1, min(at_most_points, _MOST_POINTS) - 1)
    at_hand = [each for each in (MINUTE, HOUR, DAY) if each >= finest]
    fitting = [each for each in at_hand if each <= 2 * wanted] or at_hand[:1]  # half of the points that fit do, too
    complete = [each for each in at_hand if each >= fitting[-1] and begins[each] <= since] or at_hand[-1:]
    resolution = complete[0]
    step = max(1, ceil(wanted / resolution)) * resolution
    parts, start = [], int(since) // step * step
    for each in reversed([each for each in at_hand if each <= resolution]):
        end = ceil(min(until, rolled_until[each] if each > finest else until))
        if end > start:
            parts.append(Part(each, start, end))
            start = end
    return Plan(step, tuple(parts))


def _plan(connection: Connection, series: Series, finest: int, since: float, until: float, at_most_points: int) -> Plan:
    begins = {resolution: horizon(connection, series.name, resolution) for resolution in series.tables}
    query = select(changes.c.resolution, func.min(changes.c.start)).where(changes.c.series == series.name)
    undone: Sequence[Any] = connection.execute(query.group_by(changes.c.resolution)).all()
    rolled_until = {
        resolution: min(
            (start // resolution * resolution for each, start in undone if each <= resolution), default=until
        )
        for resolution in series.tables
    }
    return plan(since, until, at_most_points, finest=finest, begins=begins, rolled_until=rolled_until)


def _rows(
    connection: Connection, table: Table, part: Part, columns: Sequence[ColumnElement[Any]], key: Mapping[str, str]
) -> Iterator[Any]:
    """A part's rows. Their starts are listed one by one: that is how tables keyed by time first are quick to search."""
    where = [table.c[name] == value for name, value in key.items()]
    starts = range(part.start, part.end, part.resolution)
    for some in (starts[at : at + _STARTS_AT_ONCE] for at in range(0, len(starts), _STARTS_AT_ONCE)):
        yield from connection.execute(select(*columns).where(table.c.start.in_(some), *where))


def _readings(
    engine: Engine, series: Series, key: Mapping[str, str], since: float, until: float, at_most_points: int
) -> list[ReadingsPoint]:
    finest = series.fleet_from if key["device_id"] == FLEET else MINUTE
    names = [column.name for column in value_columns(series.tables[MINUTE])]
    sums: dict[int, list[_Readings]] = {}
    with engine.connect() as connection:
        chosen = _plan(connection, series, finest, since, until, at_most_points)
        for part in chosen.parts:
            table = series.tables[part.resolution]
            weight: ColumnElement[Any] = table.c.get("readings", literal(1))
            pairs = [table.c[each] for name in names for each in (name, f"{name}_max") if each in table.c]
            both = len(pairs) > len(names)
            for start, readings, *values in _rows(connection, table, part, (table.c.start, weight, *pairs), key):
                point = sums.setdefault(start // chosen.step * chosen.step, [_Readings() for _ in names])
                means, largest = (values[0::2], values[1::2]) if both else (values, values)
                for total, mean, most in zip(point, means, largest, strict=True):
                    total.add(readings, mean, most)
    return [_readings_point(start, chosen.step, names, totals) for start, totals in sorted(sums.items())]


class _Readings:
    """The mean and the largest of readings from several rows."""

    __slots__ = ("largest", "sum", "weight")

    def __init__(self) -> None:
        self.weight, self.sum = 0, 0.0
        self.largest: float | None = None

    def add(self, weight: int, mean: float | None, largest: float | None) -> None:
        """Add a row's."""
        if mean is not None and largest is not None:
            self.weight += weight
            self.sum += weight * mean
            self.largest = largest if self.largest is None else max(self.largest, largest)

    @property
    def mean(self) -> float | None:
        """Of all."""
        return self.sum / self.weight if self.weight else None


def _readings_point(start: int, seconds: int, names: Sequence[str], totals: Sequence[_Readings]) -> ReadingsPoint:
    pairs = list(zip(names, totals, strict=True))
    return ReadingsPoint(
        start, seconds, {name: total.mean for name, total in pairs}, {name: total.largest for name, total in pairs}
    )


def _latency_point(start: int, seconds: int, total: LatencySum) -> LatencyPoint:
    counted = total.columns()
    histogram = total.histogram
    quantiles = (histogram.quantile_ms(each) for each in (0.5, 0.95, 0.99))
    return LatencyPoint(start, seconds, counted["predictions"], counted["errors"], *quantiles)
