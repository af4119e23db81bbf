"""What is old is deleted: series by their resolution, and logs. Totals (`counters`) are kept for good.

A series ends where a period of the next resolution does, and says so in `horizons` before anything is deleted: the
roll-up of a period of which rows are missing would replace what is right by what is left.
"""

from sqlalchemy import Connection, Table, delete, select, tuple_

from edgeward.monitor import schema
from edgeward.monitor.config import RetentionConfig
from edgeward.monitor.database import writing
from edgeward.monitor.rollups import horizon, upsert
from edgeward.monitor.schema import DAY, HOUR, MINUTE
from edgeward.monitor.series import ALL, COARSER

_ROWS_AT_ONCE = 5_000


def delete_old(connection: Connection, kept: RetentionConfig, now: float) -> int:
    """Delete what is older at `now` (Unix seconds) than is to be kept; returns how many rows.

    One process at a time may, and after it has rolled up what was due.

    Raises:
        sqlalchemy.exc.OperationalError: When the store is away or locked. Calling it again goes on.
    """
    days = {MINUTE: kept.minutes, HOUR: kept.hours, DAY: kept.days}
    deleted = 0
    for series in ALL.values():
        for resolution, table in series.tables.items():
            period = COARSER.get(resolution, DAY)
            border = int(now - days[resolution] * DAY) // period * period
            border = _move_horizon(connection, series.name, resolution, border)
            deleted += _delete_below(connection, table, ("start", "device_id"), border)
    return deleted + _delete_below(connection, schema.logs, ("at", "id"), now - kept.logs * DAY)


def _move_horizon(connection: Connection, series: str, resolution: int, start: int) -> int:
    """Move it forwards; it never goes back. Returns where it is."""
    with writing(connection):
        if start <= (stands := horizon(connection, series, resolution)):
            return stands
        upsert(connection, schema.horizons, [{"series": series, "resolution": resolution, "start": start}])
        return start


def _delete_below(connection: Connection, table: Table, key: tuple[str, str], border: float) -> int:
    """Delete rows whose key begins with less than `border`, some thousands in a transaction."""
    columns = [table.c[name] for name in key]
    is_old = columns[0] < border
    last_of_some = select(*columns).where(is_old).order_by(*columns).offset(_ROWS_AT_ONCE - 1).limit(1)
    deleted, more = 0, True
    while more:
        with writing(connection):
            last = connection.execute(last_of_some).one_or_none()
            is_among = is_old if last is None else tuple_(*columns) <= tuple_(*last)
            deleted += connection.execute(delete(table).where(is_among)).rowcount
            more = last is not None
    return deleted
