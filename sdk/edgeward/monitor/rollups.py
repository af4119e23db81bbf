"""Minutes become hours, hours become days, and all devices together the fleet.

A row is never added to: it is made anew from all rows under it, so making it twice gives the same. What is to be made
is in `changes`: whoever writes a row adds a change in the same transaction, and here exactly the changes that had been
seen before the rows were read are deleted after the new rows are written. A late row thus has its hour and its day made
again, and a process killed in between leaves its changes to the next. Transactions are small, and what takes time is
done between them: ingest writes meanwhile.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, Table, and_, delete, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from edgeward.monitor import schema
from edgeward.monitor.database import writing
from edgeward.monitor.schema import DAY, FLEET, HOUR, MINUTE, changes, horizons
from edgeward.monitor.series import ALL, COARSER, FINER, Rows, Series

GRACE_S = 10  # for how long after its end a period's rows are waited for; later ones make it anew

_DEVICES_AT_ONCE = 500
_SINGLE_DEVICES = 200  # up to how many late devices are rolled up by themselves
_ROWS_AT_ONCE = 1_000


class _Period(Struct, frozen=True):
    """Rows to be made: of one series, resolution and start."""

    series: Series
    resolution: int
    start: int


def roll_up(connection: Connection, now: float) -> int:
    """Make all rows whose period is over at `now` (Unix seconds) and that are missing or out of date.

    One process at a time may. Returns how many periods were made.

    Raises:
        sqlalchemy.exc.OperationalError: When the store is away or locked. Calling it again goes on.
    """
    return sum(_roll_up(connection, resolution, now) for resolution in (MINUTE, HOUR, DAY))


def horizon(connection: Connection, series: str, resolution: int) -> int:
    """Where the rows of a series begin, by retention."""
    where = (horizons.c.series == series, horizons.c.resolution == resolution)
    return connection.execute(select(horizons.c.start).where(*where)).scalar() or 0


def upsert(connection: Connection, table: Table, rows: Rows) -> None:
    """Write whole rows in place of those with the same key."""
    if not rows:
        return
    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table)
    keys = [column.name for column in table.primary_key]
    others = {column.name: statement.excluded[column.name] for column in table.c if column.name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=others), rows)


def _roll_up(connection: Connection, resolution: int, now: float) -> int:
    due = _due(connection, resolution, now)
    for period in due:
        _make(connection, period)
    return len(due)


def _due(connection: Connection, resolution: int, now: float) -> list[_Period]:
    is_over = and_(changes.c.resolution == resolution, changes.c.start <= now - resolution - GRACE_S)
    query = select(changes.c.series, changes.c.start).where(is_over).distinct().order_by(changes.c.start)
    with connection.begin():
        return [_Period(ALL[series], resolution, start) for series, start in connection.execute(query)]


def _make(connection: Connection, period: _Period) -> None:
    where = (
        changes.c.series == period.series.name,
        changes.c.resolution == period.resolution,
        changes.c.start == period.start,
    )
    with connection.begin():
        seen = connection.execute(select(changes.c.id, changes.c.device_id).where(*where)).all()
        lower = FINER.get(period.resolution, MINUTE)
        can_be_made = period.start >= horizon(connection, period.series.name, lower)
    late = {row.device_id for row in seen}
    if can_be_made:
        _make_rows(connection, period, late)
    with writing(connection):
        for some in _batched([row.id for row in seen], _ROWS_AT_ONCE):
            connection.execute(delete(changes).where(changes.c.id.in_(some)))
        if can_be_made and period.resolution in COARSER:
            coarser = COARSER[period.resolution]
            key = {"series": period.series.name, "resolution": coarser, "start": period.start // coarser * coarser}
            connection.execute(insert(changes), [{**key, "device_id": device_id} for device_id in _named(late)])


def _make_rows(connection: Connection, period: _Period, late: set[str]) -> None:
    series, resolution, start = period.series, period.resolution, period.start
    target = series.tables[resolution]
    if resolution in FINER:
        source = series.tables[FINER[resolution]]
        within = source.c.start.in_(range(start, start + resolution, FINER[resolution]))
        for devices in _device_clauses(connection, source, late):
            with connection.begin():
                rows = series.merged(connection, source, (within, devices), start, False)
            _write(connection, target, rows)
    if resolution == series.fleet_from:
        with connection.begin():
            devices = and_(target.c.start == start, target.c.device_id != FLEET)
            rows = series.merged(connection, target, (devices,), start, True)
        _write(connection, target, rows)


def _write(connection: Connection, table: Table, rows: Rows) -> None:
    for some in _batched(rows, _ROWS_AT_ONCE):
        with writing(connection):
            upsert(connection, table, list(some))


def _named(late: set[str]) -> set[str]:
    """The late devices, or FLEET for any where they are too many to be dealt with singly."""
    return {FLEET} if FLEET in late or len(late) > _SINGLE_DEVICES else late


def _device_clauses(connection: Connection, table: Table, late: set[str]) -> Iterator[ColumnElement[bool]]:
    """Which devices' rows to read, some at a time; the fleet's own rows are always among them."""
    column = table.c.device_id
    if FLEET not in (names := _named(late)):
        yield column.in_({*names, FLEET})
        return
    ids = schema.devices.c.id
    number = func.row_number().over(order_by=ids).label("number")
    numbered = select(ids, number).subquery()
    with connection.begin():
        query = select(numbered.c.id).where(numbered.c.number % _DEVICES_AT_ONCE == 0).order_by(numbered.c.id)
        borders = connection.execute(query).scalars().all()
    for low, high in itertools.pairwise([FLEET, *borders, None]):
        yield column >= low if high is None else and_(column >= low, column < high)


def _batched(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[at : at + size] for at in range(0, len(items), size))
