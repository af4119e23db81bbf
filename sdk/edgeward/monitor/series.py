"""The three kinds of series, and how rows of a finer resolution, or of all devices, become one of a coarser one.

Latency adds up: histograms merge, so an hour's p99 is that of all its predictions. Readings (health, and what a model's
data look like) have a mean and a largest value; each period's mean counts for as many readings as it is of.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy import Column, ColumnElement, Connection, Table, case, func, literal, select

from edgeward.monitor import schema
from edgeward.monitor.schema import DAY, FLEET, HOUR, MINUTE
from edgeward.monitor.sums import LatencySum

FINER = {HOUR: MINUTE, DAY: HOUR}
COARSER = {MINUTE: HOUR, HOUR: DAY}

_LARGEST_READING = 1e15  # beyond it is a device's fault, and PostgreSQL's sums would overflow

Rows = list[dict[str, Any]]
Clauses = Sequence[ColumnElement[bool]]


class Series(Struct, frozen=True):
    """A series at its resolutions; `merged` makes rows of `start` from those that match, as the fleet's if told."""

    name: str
    tables: Mapping[int, Table]
    fleet_from: int  # the resolution from which on the fleet has rows
    merged: Callable[[Connection, Table, Clauses, int, bool], Rows]


def _merged_latency(connection: Connection, source: Table, where: Clauses, start: int, as_fleet: bool) -> Rows:
    column = source.c
    device = literal(FLEET) if as_fleet else column.device_id
    query = select(device, column.model, column.release, column.predictions, column.errors, column.histogram)
    sums: dict[tuple[str, str, str], LatencySum] = {}
    for device_id, model, release, predictions, errors, histogram in connection.execute(query.where(*where)):
        key = (device_id, model, release)
        if key not in sums:
            sums[key] = LatencySum()
        sums[key].add(predictions, errors, histogram)
    return [
        {"start": start, "device_id": device_id, "model": model, "release": release, **total.columns()}
        for (device_id, model, release), total in sums.items()
    ]


def _merged_readings(connection: Connection, source: Table, where: Clauses, start: int, as_fleet: bool) -> Rows:
    keys = [
        column
        for column in source.primary_key
        if column.name != "start" and not (as_fleet and column.name == "device_id")
    ]
    weight: ColumnElement[Any] = source.c.readings if "readings" in source.c else literal(1)
    values: list[ColumnElement[Any]] = [func.sum(weight).label("readings")]
    for column in value_columns(source):
        plausible = column.between(-_LARGEST_READING, _LARGEST_READING)
        mean = func.sum(case((plausible, column * weight))) / func.sum(case((plausible, weight)))
        largest = func.max(case((plausible, source.c.get(f"{column.name}_max", column))))
        values += (mean.label(column.name), largest.label(f"{column.name}_max"))
    rows = connection.execute(select(*keys, *values).where(*where).group_by(*keys)).mappings()
    fixed = {"start": start, **({"device_id": FLEET} if as_fleet else {})}
    return [{**fixed, **row} for row in rows if row["readings"] is not None]


def value_columns(table: Table) -> list[Column[Any]]:
    """The columns of a table of readings that hold those, or their means."""
    return [
        column
        for column in table.c
        if not column.primary_key and column.name != "readings" and not column.name.endswith("_max")
    ]


LATENCY = Series("latency", schema.latency, MINUTE, _merged_latency)
HEALTH = Series("health", schema.health, HOUR, _merged_readings)
OBSERVED = Series("observed", schema.observed, HOUR, _merged_readings)
ALL = {series.name: series for series in (LATENCY, HEALTH, OBSERVED)}
