"""Reading: what REST, /metrics and the dashboard show, as frozen dataclasses (FastAPI documents those).

Quantiles come from merged histograms, so a fleet's p99 is that of all its predictions and not a mean of p99s.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, select

from edgeward.monitor import schema
from edgeward.monitor.host import LARGEST_COUNT
from edgeward_runtimes.latency.histogram import Histogram


@dataclass(frozen=True)
class ModelOnDevice:
    """One model on one device; totals are over all its releases there.

    `warning` says why it does not run on what was asked for.
    """

    name: str
    installed: bool
    release: str | None
    variant: str | None
    engine: str | None
    runs_on: str | None
    warning: str | None
    predictions: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True)
class Device:
    """One device: facts, latest health, models. `last_seen` is Unix seconds; None is not measurable there."""

    id: str
    fleet: str
    device: str
    online: bool
    last_seen: float
    target: str | None
    edgeward_version: str | None
    python_version: str | None
    architecture: str | None
    cpu_percent: float | None
    load_1m: float | None
    memory_used_percent: float | None
    disk_used_percent: float | None
    temperature_c: float | None
    uptime_s: float | None
    models: list[ModelOnDevice]


@dataclass(frozen=True)
class ReleaseTotals:
    """One release of a model, over the whole fleet."""

    release: str
    devices: int
    predictions: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True)
class FleetModel:
    """One model over the whole fleet."""

    name: str
    devices: list[str]
    predictions: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    releases: list[ReleaseTotals]


@dataclass(frozen=True)
class LatencyMinute:
    """What arrived in one minute. `minute` is Unix seconds."""

    minute: int
    predictions: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True)
class HealthMinute:
    """The last health reading of one minute."""

    minute: int
    cpu_percent: float | None
    memory_used_percent: float | None
    temperature_c: float | None


@dataclass(frozen=True)
class _Total:
    predictions: int
    errors: int
    histogram: Histogram


def devices(engine: Engine) -> list[Device]:
    """Every device, in the order of their ids."""
    with engine.connect() as connection:
        rows = connection.execute(select(schema.devices).order_by(schema.devices.c.id)).all()
        return _devices(connection, rows)


def device(engine: Engine, device_id: str) -> Device | None:
    """One device, or None."""
    with engine.connect() as connection:
        rows = connection.execute(select(schema.devices).where(schema.devices.c.id == device_id)).all()
        return next(iter(_devices(connection, rows, device_id)), None)


def fleet_model(engine: Engine, name: str) -> FleetModel | None:
    """One model over the fleet, or None when no device has reported it."""
    models, counters = schema.models, schema.counters
    with engine.connect() as connection:
        holders = connection.execute(select(models.c.device_id).where(models.c.model == name)).scalars().all()
        rows = connection.execute(select(counters).where(counters.c.model == name)).all()
    if not holders:
        return None
    total = _total(rows)
    releases = []
    for release in sorted({row.release for row in rows}):
        ours = [row for row in rows if row.release == release]
        part = _total(ours)
        counted_on = len({row.device_id for row in ours})
        releases.append(ReleaseTotals(release, counted_on, part.predictions, part.errors, *_quantiles(part.histogram)))
    return FleetModel(
        name, sorted(holders), total.predictions, total.errors, *_quantiles(total.histogram), releases=releases
    )


def model_histogram(engine: Engine, device_id: str, model: str) -> Histogram:
    """All latencies of a model on a device."""
    table = schema.counters
    with engine.connect() as connection:
        rows = connection.execute(select(table).where(table.c.device_id == device_id, table.c.model == model)).all()
    return _total(rows).histogram


def model_totals(engine: Engine) -> list[tuple[str, str, int, int, Histogram]]:
    """(device id, model, predictions, errors, histogram) of every model on every device."""
    with engine.connect() as connection:
        rows = connection.execute(select(schema.counters)).all()
    groups: dict[tuple[str, str], list[Row[Any]]] = {}
    for row in rows:
        groups.setdefault((row.device_id, row.model), []).append(row)
    totals = {key: _total(group) for key, group in sorted(groups.items())}
    return [(*key, total.predictions, total.errors, total.histogram) for key, total in totals.items()]


def latency_series(engine: Engine, device_id: str, model: str, since: float) -> list[LatencyMinute]:
    """A model's minutes on a device, from `since` (Unix seconds) on."""
    table = schema.latency
    where = (table.c.device_id == device_id, table.c.model == model, table.c.minute >= since)
    with engine.connect() as connection:
        rows = connection.execute(select(table).where(*where).order_by(table.c.minute)).all()
    return [
        LatencyMinute(row.minute, row.predictions, row.errors, *_quantiles(Histogram.decode(row.histogram)))
        for row in rows
    ]


def health_series(engine: Engine, device_id: str, since: float) -> list[HealthMinute]:
    """A device's health by the minute, from `since` (Unix seconds) on."""
    table = schema.health
    with engine.connect() as connection:
        rows = connection.execute(
            select(table).where(table.c.device_id == device_id, table.c.minute >= since).order_by(table.c.minute)
        ).all()
    return [HealthMinute(row.minute, row.cpu_percent, row.memory_used_percent, row.temperature_c) for row in rows]


def dropped(engine: Engine) -> int:
    """Messages that were not understood."""
    table = schema.ingest
    with engine.connect() as connection:
        return connection.execute(select(table.c["count"]).where(table.c.name == "dropped")).scalar() or 0


def known_nodes(engine: Engine) -> list[tuple[str, str]]:
    """(fleet, device) of every device ever seen."""
    with engine.connect() as connection:
        rows = connection.execute(select(schema.devices.c.fleet, schema.devices.c.device)).all()
    return [(row.fleet, row.device) for row in rows]


def _devices(connection: Connection, rows: Iterable[Row[Any]], only: str | None = None) -> list[Device]:
    models_query, counters_query = select(schema.models), select(schema.counters)
    if only is not None:
        models_query = models_query.where(schema.models.c.device_id == only)
        counters_query = counters_query.where(schema.counters.c.device_id == only)
    counted: dict[tuple[str, str], list[Row[Any]]] = {}
    for row in connection.execute(counters_query):
        counted.setdefault((row.device_id, row.model), []).append(row)
    models: dict[str, list[ModelOnDevice]] = {}
    for row in connection.execute(models_query.order_by(schema.models.c.model)):
        models.setdefault(row.device_id, []).append(_model(row, counted.get((row.device_id, row.model), [])))
    now = time.time()
    return [_device(row, models.get(row.id, []), now) for row in rows]


def _device(row: Row[Any], models: list[ModelOnDevice], now: float) -> Device:
    columns = row._mapping
    shown = {name: columns[name] for name in Device.__dataclass_fields__ if name in columns and name != "online"}
    return Device(**shown, online=row.online and now - row.last_seen <= _silence_s(row), models=models)


def _silence_s(row: Row[Any]) -> float:
    """After how long without a word a device counts as offline, should the broker have said nothing."""
    return 1.5 * max(row.keep_alive_s or 0.0, row.interval_s or 0.0, 1.0)


def _model(row: Row[Any], counted: list[Row[Any]]) -> ModelOnDevice:
    total = _total(counted)
    return ModelOnDevice(
        row.model,
        row.installed,
        row.release,
        row.variant,
        row.engine,
        row.runs_on,
        row.warning,
        total.predictions,
        total.errors,
        *_quantiles(total.histogram),
    )


def _total(rows: Iterable[Row[Any]]) -> _Total:
    """The sum of all rows; rows that fit may be too much together, and no reader's JSON has integers beyond 64 bits."""
    predictions, errors, histogram = 0, 0, Histogram()
    for row in rows:
        predictions += row.predictions
        errors += row.errors
        histogram = histogram.merge(Histogram.decode(row.histogram))
    return _Total(min(predictions, LARGEST_COUNT), min(errors, LARGEST_COUNT), histogram)


def _quantiles(histogram: Histogram) -> tuple[float | None, float | None, float | None]:
    return histogram.quantile_ms(0.5), histogram.quantile_ms(0.95), histogram.quantile_ms(0.99)
