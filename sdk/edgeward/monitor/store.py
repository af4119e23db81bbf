"""Writing: updates from the host, a batch in one transaction.

Counters are merged under the transaction, so a message that comes twice, late or in another order changes nothing;
what is new in them goes into the series of the minute in which it arrived. Nothing is ever counted from the series.

- The only writer of counters remembers what it wrote last, and reads nothing. Should a transaction fail, it forgets.
- Several workers share PostgreSQL: each locks the devices of its batch first, in the order of their ids, so two that
  count for one device wait for each other, and none for another in a circle.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    Connection,
    Dialect,
    Engine,
    Table,
    and_,
    bindparam,
    event,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from edgeward.monitor import requests, schema
from edgeward.monitor.batch import Batch, CounterKey, MinuteKey, Row, minute_key
from edgeward.monitor.database import open_engine, writing
from edgeward.monitor.totals import Totals
from edgeward.monitor.updates import Update

__all__ = ["Writer", "apply", "known_nodes", "mark_silent", "open_engine"]

_KEYS_AT_ONCE = 500  # in one query
_REMEMBERED = 50_000  # rows of each kind
_CACHE_KB = 64 * 1024
_CHECKPOINT_PAGES = 16 * 1024  # of 4 KB
_NOTHING = Totals()
_NO_DEFAULTS: Row = {}
_MINUTES = schema.latency[schema.MINUTE]


def apply(engine: Engine, updates: Sequence[Update]) -> None:
    """Write a batch, whole or not at all, whoever else writes; see `Writer.apply`."""
    Writer(engine, is_alone=False).apply(updates)


class Writer:
    """Writes batches for one ingest worker."""

    def __init__(self, engine: Engine, *, is_alone: bool) -> None:
        """`is_alone`: no other process writes counters into this store."""
        self._engine = engine
        self._is_alone = is_alone
        if is_alone and engine.dialect.name == "sqlite":
            engine.dispose()
            event.listen(engine, "connect", _give_room)
        self._counters: dict[CounterKey, Totals] = {}
        self._minutes: dict[MinuteKey, Totals] = {}
        self._minute = 0

    def apply(self, updates: Sequence[Update]) -> None:
        """Write a batch, whole or not at all.

        Raises:
            sqlalchemy.exc.OperationalError: When the database is away, full or locked: later it may work.
            Exception: When it can never be written.
        """
        batch = Batch(updates)
        try:
            with writing(self._engine) as connection:
                self._write(connection, batch)
        except BaseException:
            self._forget()
            raise
        if not self._is_alone or max(len(self._counters), len(self._minutes)) > _REMEMBERED:
            self._forget()

    def _write(self, connection: Connection, batch: Batch) -> None:
        _write_devices(connection, batch.devices)
        _write_models(connection, batch)
        self._count(connection, batch)
        _write_series(connection, "health", ("start", "device_id"), batch.health)
        _write_series(connection, "observed", ("start", "device_id", "model"), batch.observed)
        if batch.logs:
            connection.execute(insert(schema.logs), batch.logs)
        for answer in batch.answers:
            requests.answered(connection, answer)
        if batch.changes:
            names = ("series", "start", "device_id", "resolution")
            changes = [dict(zip(names, (*change, schema.MINUTE), strict=True)) for change in sorted(batch.changes)]
            connection.execute(insert(schema.changes), changes)
        if batch.dropped:
            _count_dropped(connection, batch.dropped)

    def _count(self, connection: Connection, batch: Batch) -> None:
        """Keep the larger of stored and reported totals; what is new goes into the minute's series."""
        before = self._read_counters(connection, batch.totals)
        later: dict[CounterKey, Totals] = {}
        new: dict[MinuteKey, Totals] = {}
        for key, (totals, at) in batch.totals.items():
            stored = before.get(key, _NOTHING)
            grown = totals.since(stored)
            if grown.is_nothing and key in before:
                continue
            later[key] = stored.plus(grown, totals)
            minute = minute_key(key, at)
            new[minute] = grown if minute not in new else new[minute].merge(grown)
        minutes = self._read_minutes(connection, new)
        after = {key: minutes.get(key, _NOTHING).merge(grown) for key, grown in new.items()}
        _upsert_counted(connection, schema.counters, later)
        _upsert_counted(connection, _MINUTES, after)
        batch.changes |= {("latency", minute.start, schema.FLEET) for minute in after}
        self._counters.update(later)
        self._remember_minutes(after)

    def _read_counters(self, connection: Connection, keys: Iterable[CounterKey]) -> Mapping[CounterKey, Totals]:
        missing = [key for key in keys if key not in self._counters]
        self._counters.update(_read_counted(connection, schema.counters, CounterKey, missing))
        return self._counters

    def _read_minutes(self, connection: Connection, keys: Iterable[MinuteKey]) -> Mapping[MinuteKey, Totals]:
        missing = [key for key in keys if key not in self._minutes]
        self._minutes.update(_read_counted(connection, _MINUTES, MinuteKey, missing))
        return self._minutes

    def _remember_minutes(self, after: Mapping[MinuteKey, Totals]) -> None:
        """Those of the minute that is now: of earlier ones there will hardly be more."""
        latest = max((key.start for key in after), default=self._minute)
        if latest > self._minute:
            self._minute, self._minutes = latest, {}
        self._minutes.update(after)

    def _forget(self) -> None:
        self._counters, self._minutes = {}, {}


def known_nodes(engine: Engine) -> list[tuple[str, str]]:
    """(fleet, device) of every device ever seen."""
    with engine.connect() as connection:
        rows = connection.execute(select(schema.devices.c.fleet, schema.devices.c.device)).all()
    return [(row.fleet, row.device) for row in rows]


def mark_silent(engine: Engine, now: float, heard_since: float) -> None:
    """Take devices for offline that have said nothing for 1.5 of their keep-alives and of their reporting intervals.

    A broker says a will for them before, unless it was lost. Nobody could be heard before `heard_since`, when we
    connected; who tells neither figure is not judged. Times are Unix seconds.
    """
    table = schema.devices
    patience = [1.5 * func.coalesce(column, 0.0) for column in (table.c.keep_alive_s, table.c.interval_s)]
    is_judged = or_(table.c.keep_alive_s.is_not(None), table.c.interval_s.is_not(None))
    is_silent = and_(*(moment < now - each for each in patience for moment in (table.c.last_seen, heard_since)))
    silent = select(table.c.id).where(table.c.online, is_judged, is_silent)
    with engine.connect() as connection:
        if connection.execute(silent.limit(1)).first() is None:
            return  # nothing to write, and no turn to take
    with writing(engine) as connection:
        connection.execute(update(table).where(table.c.online, is_judged, is_silent).values(online=False))


def _give_room(connection: Any, _record: Any) -> None:
    """A batch touches thousands of SQLite's pages: kept in memory, and taken into the file once for several."""
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA cache_size=-{_CACHE_KB}")
    cursor.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
    cursor.close()


def _write_devices(connection: Connection, devices: Mapping[str, Row]) -> None:
    seen = {key: row for key, row in sorted(devices.items()) if "last_seen" in row}
    rows = []
    for key, row in seen.items():
        fleet, _, device = key.partition("/")
        rows.append({"id": key, "fleet": fleet, "device": device, **row})
    if connection.dialect.name == "postgresql":
        _lock_devices(connection, rows, sorted(devices))
    _upsert(connection, schema.devices, rows)
    died = [{"key": key} for key, row in devices.items() if key not in seen]
    if died:
        table = schema.devices
        connection.execute(update(table).where(table.c.id == bindparam("key")).values(online=False), died)


def _lock_devices(connection: Connection, rows: Sequence[Row], ids: Sequence[str]) -> None:
    """Make the rows that are not there, and lock all, in the order of their ids: their other rows are then ours too."""
    table = schema.devices
    columns = ("id", "fleet", "device", "online", "last_seen")
    absent = postgresql.insert(table).on_conflict_do_nothing()
    if rows:
        connection.execute(absent, [{name: row[name] for name in columns} for row in rows])
    connection.execute(select(table.c.id).where(table.c.id.in_(ids)).order_by(table.c.id).with_for_update())


def _write_models(connection: Connection, batch: Batch) -> None:
    table = schema.models
    gone = [
        {"of": device_id, "name": model}
        for device_id, model in _read_installed(connection, sorted(batch.models_are))
        if model not in batch.models_are[device_id]
    ]
    if gone:
        is_gone = and_(table.c.device_id == bindparam("of"), table.c.model == bindparam("name"))
        connection.execute(update(table).where(is_gone).values(installed=False), gone)
    rows = [{"device_id": key[0], "model": key[1], **row} for key, row in sorted(batch.models.items())]
    _upsert(connection, table, rows, {"installed": False})


def _read_installed(connection: Connection, device_ids: Sequence[str]) -> list[tuple[str, str]]:
    """(device id, model) of what is installed there."""
    query = select(schema.models.c.device_id, schema.models.c.model).where(schema.models.c.installed)
    found: list[tuple[str, str]] = []
    for start in range(0, len(device_ids), _KEYS_AT_ONCE):
        some = schema.models.c.device_id.in_(device_ids[start : start + _KEYS_AT_ONCE])
        found += [(row.device_id, row.model) for row in connection.execute(query.where(some))]
    return found


def _write_series(
    connection: Connection, series: str, names: Sequence[str], found: Mapping[tuple[Any, ...], Row]
) -> None:
    table = {"health": schema.health, "observed": schema.observed}[series][schema.MINUTE]
    _upsert(connection, table, [dict(zip(names, key, strict=True)) | row for key, row in sorted(found.items())])


def _read_counted(connection: Connection, table: Table, make: Any, keys: Sequence[Any]) -> dict[Any, Totals]:
    """Totals by key, of the rows that are there."""
    columns = [table.c[name] for name in make._fields]
    query = select(*columns, table.c.errors, table.c.histogram)
    found: dict[Any, Totals] = {}
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        wanted = tuple_(*columns).in_(keys[start : start + _KEYS_AT_ONCE])
        for *key, errors, histogram in connection.execute(query.where(wanted)):
            found[make(*key)] = Totals.decode(errors, histogram)
    return found


def _upsert_counted(connection: Connection, table: Table, totals: Mapping[Any, Totals]) -> None:
    rows: list[Any] = []
    for key in sorted(totals):
        each = totals[key]
        rows.append((*key, each.check_countable(), each.errors, each.encode()))
    if rows:
        names = tuple(table.c.keys())  # in the order of the rows: the key first
        sql, order = _upsert_of(table, names, connection.dialect)
        if order is None:
            rows = [dict(zip(names, row, strict=True)) for row in rows]
        connection.exec_driver_sql(sql, rows)


def _count_dropped(connection: Connection, count: int) -> None:
    table = schema.ingest
    statement = _dialect(connection).insert(table).values(name="dropped", count=count)
    more = {"count": table.c["count"] + statement.excluded["count"]}
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=more))


def _upsert(connection: Connection, table: Table, rows: Iterable[Row], defaults: Row = _NO_DEFAULTS) -> None:
    """Insert, or update the rows' other columns; rows of the same columns go together.

    A column that is not given is left as it is; `defaults` are for new rows alone.
    """
    alike: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        alike.setdefault(tuple(row), []).append(defaults | row if defaults else row)
    for names, group in alike.items():
        sql, order = _upsert_of(table, names, connection.dialect)
        connection.exec_driver_sql(sql, group if order is None else list(map(itemgetter(*order), group)))


@lru_cache(maxsize=1000)
def _upsert_of(table: Table, names: tuple[str, ...], dialect: Dialect) -> tuple[str, Sequence[str] | None]:
    """The statement in a database's words, and the order of its parameters; None where they have names.

    Rows go to the driver as they are, since all of them are of types that it knows: half the time of a batch was
    SQLAlchemy looking at each value.
    """
    statement = (postgresql if dialect.name == "postgresql" else sqlite).insert(table)
    keys = [column.name for column in table.primary_key]
    others = {name: statement.excluded[name] for name in names if name not in keys}
    upsert = statement.on_conflict_do_update(index_elements=keys, set_=others)
    compiled = upsert.compile(dialect=dialect, column_keys=list(names))
    return str(compiled), compiled.positiontup


def _dialect(connection: Connection) -> Any:
    return postgresql if connection.dialect.name == "postgresql" else sqlite
