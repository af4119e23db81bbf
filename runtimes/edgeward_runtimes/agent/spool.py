"""Readings that nobody could be told: a bounded SQLite file that survives power loss.

- A reading is on the disk when `append` returns: write-ahead log, synchronous FULL.
- Beyond the limit of rows or bytes the oldest go first, and are counted; so is a reading that could not be written.
- A file that is damaged is set aside as `spool.db.damaged`, with a log line, and a new one is begun. Nothing here
  raises for the disk's sake: telemetry must not end the agent.

A reading keeps its numbers and log lines. Totals are cumulative, and facts come with every birth, so they are left out.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from edgeward_runtimes.sparkplug import metrics
from edgeward_runtimes.sparkplug.codec import Value
from edgeward_runtimes.sparkplug.session import LogLine, ModelReading, Reading

_log = logging.getLogger("edgeward.agent")
_T = TypeVar("_T")
_PAGE_BYTES = 4096
_SCHEMA = """
CREATE TABLE IF NOT EXISTS readings (id INTEGER PRIMARY KEY AUTOINCREMENT, content BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT OR IGNORE INTO counts VALUES ('dropped', 0);
"""


class _Row(Struct, frozen=True, array_like=True):
    timestamp: int
    node: dict[str, float | int | str | None]
    models: dict[str, dict[str, float | int | None]]
    logs: tuple[LogLine, ...]


def pack(reading: Reading) -> bytes:
    """A reading as it is kept, as msgpack."""
    node = {name: value for name, value in reading.node.items() if name not in metrics.FACTS}
    models = {
        name: {metric: value for metric, value in model.values.items() if isinstance(value, int | float)}
        for name, model in reading.models.items()
    }
    return msgspec.msgpack.encode((reading.timestamp, node, models, reading.logs))


def unpack(content: bytes) -> Reading:
    """A reading as it was kept; raises ValueError on anything that `pack` does not write."""
    try:
        row = msgspec.msgpack.decode(content, type=_Row)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"not a spooled reading: {error}") from None
    known: dict[str, Value] = {
        name: value for name, value in row.node.items() if name in metrics.HEALTH or name in metrics.SENSORS
    }
    models = {
        name: ModelReading(
            {
                metric: value
                for metric, value in values.items()
                if metric in metrics.MODEL or metric in metrics.OBSERVED
            },
            (),
        )
        for name, values in row.models.items()
    }
    return Reading(row.timestamp, known, models, row.logs)


class Spool:
    """The file."""

    def __init__(self, path: Path, *, rows: int, size_bytes: int) -> None:
        """Open the file, or begin one. `rows` and `size_bytes` (of the whole file) are the most that are kept."""
        self._path = path
        self._most_rows = rows
        # A page is seldom full, and the log beside the file takes its part.
        self._most_bytes, self._pages = size_bytes // 2, max(16, size_bytes // _PAGE_BYTES)
        self._connection: sqlite3.Connection | None = None
        self.rows = 0
        self.dropped = 0
        self._bytes = 0
        self._guarded(lambda connection: None, None)

    def append(self, reading: Reading) -> None:
        """Keep a reading; it is on the disk when this returns, or counted as dropped."""
        content = pack(reading)
        if not self._guarded(lambda connection: self._append(connection, content), False):
            self.dropped += 1

    def oldest(self, count: int) -> list[tuple[int, Reading]]:
        """The oldest readings with their ids, at most so many; those that cannot be read are dropped."""
        found: list[tuple[int, bytes]] = self._guarded(
            lambda connection: connection.execute(
                "SELECT id, content FROM readings ORDER BY id LIMIT ?", (count,)
            ).fetchall(),
            [],
        )
        readings, unreadable = [], []
        for number, content in found:
            try:
                readings.append((number, unpack(content)))
            except (ValueError, TypeError):
                unreadable.append(number)
        if unreadable:
            self._guarded(lambda connection: self._drop(connection, unreadable), None)
        return readings

    def forget(self, up_to: int) -> None:
        """Delete all readings up to an id."""

        def delete(connection: sqlite3.Connection) -> None:
            with connection:
                connection.execute("DELETE FROM readings WHERE id <= ?", (up_to,))
            self._measure(connection)

        self._guarded(delete, None)

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _append(self, connection: sqlite3.Connection, content: bytes) -> bool:
        if len(content) > self._most_bytes:
            return False
        with connection:
            connection.execute("INSERT INTO readings (content) VALUES (?)", (content,))
            self.rows, self._bytes = self.rows + 1, self._bytes + len(content)
            if self.rows > self._most_rows or self._bytes > self._most_bytes:
                # A tenth at once: else every further reading would pay for its own deletion.
                self._drop_oldest(connection, max(1, self.rows // 10))
        return True

    def _drop_oldest(self, connection: sqlite3.Connection, count: int) -> None:
        rows = connection.execute("SELECT id FROM readings ORDER BY id LIMIT ?", (count,)).fetchall()
        self._delete(connection, [number for (number,) in rows])

    def _drop(self, connection: sqlite3.Connection, numbers: Sequence[int]) -> None:
        with connection:
            self._delete(connection, numbers)

    def _delete(self, connection: sqlite3.Connection, numbers: Sequence[int]) -> None:
        connection.executemany("DELETE FROM readings WHERE id = ?", [(number,) for number in numbers])
        connection.execute("UPDATE counts SET value = value + ? WHERE name = 'dropped'", (len(numbers),))
        self.dropped += len(numbers)
        self._measure(connection)

    def _measure(self, connection: sqlite3.Connection) -> None:
        query = "SELECT count(*), coalesce(sum(length(content)), 0) FROM readings"
        self.rows, self._bytes = connection.execute(query).fetchone()

    def _guarded(self, work: Callable[[sqlite3.Connection], _T], otherwise: _T) -> _T:
        """Work on the file; a damaged one is set aside, and the work is done on a new one."""
        for _ in range(2):
            try:
                if self._connection is None:
                    self._connection = self._open()
                return work(self._connection)
            except sqlite3.OperationalError as error:  # a full or failing disk
                _log.error("%s cannot be used, what is read meanwhile is not kept: %s", self._path, error)
                self.close()  # counts in memory may be of what was rolled back: the next use reads them anew
                return otherwise
            except sqlite3.DatabaseError as error:
                self._set_aside(error)
            except OSError as error:
                _log.error("%s cannot be used, what is read meanwhile is not kept: %s", self._path, error)
                return otherwise
        return otherwise

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, check_same_thread=False)  # one thread at a time, not always the same
        try:
            for pragma in (
                f"page_size={_PAGE_BYTES}",
                "journal_mode=WAL",
                "synchronous=FULL",
                f"max_page_count={self._pages}",
                "wal_autocheckpoint=64",
                "journal_size_limit=262144",
                "cache_size=-256",
            ):
                connection.execute(f"PRAGMA {pragma}").fetchall()
            if connection.execute("PRAGMA quick_check").fetchall() != [("ok",)]:
                raise sqlite3.DatabaseError("its check finds damage")
            connection.executescript(_SCHEMA)
            kept = connection.execute("SELECT value FROM counts WHERE name = 'dropped'").fetchone()[0]
            self.dropped = max(self.dropped, kept)
            self._measure(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_aside(self, error: Exception) -> None:
        self.close()
        aside = self._path.with_name(f"{self._path.name}.damaged")
        _log.error("%s is damaged (%s); it is now %s, and a new one is begun", self._path, error, aside.name)
        self.rows = self._bytes = 0
        with contextlib.suppress(OSError):
            self._path.replace(aside)
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
