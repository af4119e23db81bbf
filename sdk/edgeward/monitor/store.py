"""Writing: updates from the host, a batch in one transaction.

Counters are merged under the transaction, so a message that comes twice, late or in another order changes nothing;
what is new in them goes into the series of the minute in which it arrived. Nothing is ever counted from the series.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Table, create_engine, event, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from edgeward.monitor import schema
from edgeward.monitor.host import (
    LARGEST_COUNT,
    Dropped,
    HistorySeen,
    ModelDied,
    ModelSeen,
    NodeDied,
    NodeSeen,
    Update,
    is_countable,
)
from edgeward_runtimes.errors import MonitorError, one_line
from edgeward_runtimes.latency.counters import Counters
from edgeward_runtimes.latency.histogram import Histogram
from edgeward_runtimes.sparkplug import metrics
from edgeward_runtimes.sparkplug.codec import Value

_DEVICE_COLUMNS = frozenset(metrics.FACTS) | frozenset(metrics.HEALTH)
_MODEL_COLUMNS = frozenset({"release", "variant", "engine", "runs_on", "warning"})


def open_engine(url: str) -> Engine:
    """Connect, and make the tables that are not there. Raises MonitorError."""
    try:
        engine = create_engine(url)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _tune_sqlite)
        schema.metadata.create_all(engine)
    except (SQLAlchemyError, ImportError) as error:
        raise MonitorError(f"The store {url} cannot be opened: {one_line(error)}.") from error
    return engine


def apply(engine: Engine, updates: Sequence[Update]) -> None:
    """Write a batch, whole or not at all.

    Raises:
        sqlalchemy.exc.OperationalError: When the database is away, full or locked: later it may work.
        Exception: When it can never be written.
    """
    with engine.begin() as connection:
        for each in updates:
            match each:
                case NodeSeen():
                    _node_seen(connection, each)
                case HistorySeen():
                    row = {"device_id": device_id(each), "minute": _minute(each.at), **each.values}
                    _upsert(connection, schema.health, row)
                case NodeDied():  # most often a broker's word, so it is no sign of life: last_seen stays
                    _change(connection, schema.devices, {"id": device_id(each)}, {"online": False})
                case ModelSeen():
                    _model_seen(connection, each)
                case ModelDied():
                    key = {"device_id": device_id(each), "model": each.model}
                    _change(connection, schema.models, key, {"installed": False})
                case Dropped():
                    _count(connection, "dropped")


def device_id(about: NodeSeen | HistorySeen | NodeDied | ModelSeen | ModelDied) -> str:
    """The id of the device that an update is about."""
    return f"{about.fleet}/{about.device}"


def _node_seen(connection: Connection, seen: NodeSeen) -> None:
    values: dict[str, Any] = {name: value for name, value in seen.values.items() if name in _DEVICE_COLUMNS}
    if metrics.REPORTING_INTERVAL in seen.values:
        values["interval_s"] = seen.values[metrics.REPORTING_INTERVAL]
    _touch(connection, seen.fleet, seen.device, seen.at, {"online": True, **values})
    sample = {name: value for name, value in values.items() if name in metrics.HEALTH}
    if sample:
        _upsert(connection, schema.health, {"device_id": device_id(seen), "minute": _minute(seen.at), **sample})


def _model_seen(connection: Connection, seen: ModelSeen) -> None:
    _touch(connection, seen.fleet, seen.device, seen.at, {"online": True})
    row = {"device_id": device_id(seen), "model": seen.model, **_only(seen.values, _MODEL_COLUMNS)}
    if "release" in seen.values:  # null: counted once, but no longer installed
        row["installed"] = seen.values["release"] is not None
    _upsert(connection, schema.models, row)
    for reported in seen.totals:
        _merge(connection, device_id(seen), seen.model, reported, seen.at)


def _merge(connection: Connection, device: str, model: str, reported: Counters, at: float) -> None:
    """Keep the larger of stored and reported totals; what is new goes into the minute's series."""
    key = {"device_id": device, "model": model, "release": reported.release, "epoch": reported.epoch}
    stored = _stored(connection, schema.counters, key)
    before = Counters(reported.release, reported.epoch, *stored)
    after = before.later(reported)
    if after == before:
        return
    _upsert(connection, schema.counters, {**key, **_counted(after.errors, after.histogram)})
    minute = {"device_id": device, "model": model, "minute": _minute(at)}
    errors, histogram = _stored(connection, schema.latency, minute)
    errors += after.errors - before.errors
    histogram = histogram.merge(after.histogram.since(before.histogram))
    _upsert(connection, schema.latency, {**minute, **_counted(errors, histogram)})


def _counted(errors: int, histogram: Histogram) -> dict[str, Any]:
    """The columns for counts. Raises ValueError for more than can be read again: reports that fit may not together."""
    if not is_countable(errors, histogram):
        raise ValueError(f"counts beyond {LARGEST_COUNT}")
    return {"predictions": histogram.count, "errors": errors, "histogram": histogram.encode()}


def _stored(connection: Connection, table: Table, key: Mapping[str, Any]) -> tuple[int, Histogram]:
    """Errors and histogram of a row, or nothing counted where there is none."""
    row = connection.execute(select(table.c.errors, table.c.histogram).where(*_matches(table, key))).one_or_none()
    return (0, Histogram()) if row is None else (row.errors, Histogram.decode(row.histogram))


def _touch(connection: Connection, fleet: str, device: str, at: float, values: Mapping[str, Any]) -> None:
    row = {"id": f"{fleet}/{device}", "fleet": fleet, "device": device, "last_seen": at, **values}
    _upsert(connection, schema.devices, row)


def _count(connection: Connection, name: str) -> None:
    table = schema.ingest
    before = connection.execute(select(table.c["count"]).where(table.c.name == name)).scalar()
    _upsert(connection, table, {"name": name, "count": (before or 0) + 1})


def _upsert(connection: Connection, table: Table, row: Mapping[str, Any]) -> None:
    """Insert, or update the row's other columns, if it has any."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    keys = [column.name for column in table.primary_key]
    statement = dialect.insert(table).values(dict(row))
    others = {name: statement.excluded[name] for name in row if name not in keys}
    if others:
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=others))
    else:
        connection.execute(statement.on_conflict_do_nothing(index_elements=keys))


def _change(connection: Connection, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Update a row, if it is there."""
    connection.execute(update(table).where(*_matches(table, key)).values(dict(values)))


def _matches(table: Table, key: Mapping[str, Any]) -> Iterator[ColumnElement[bool]]:
    return (table.c[name] == value for name, value in key.items())


def _only(values: Mapping[str, Value], names: Iterable[str]) -> dict[str, Value]:
    return {name: values[name] for name in names if name in values}


def _minute(at: float) -> int:
    return int(at) // 60 * 60


def _tune_sqlite(connection: Any, _record: Any) -> None:
    """Write-ahead log: readers never wait for the writer, and a commit survives the death of the process."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
