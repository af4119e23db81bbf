"""Opening the store, SQLite or PostgreSQL: made, or brought up to date, before anyone uses it.

- A store that edgeward 0.1 made, without alembic, is taken over as it is; one of a later edgeward is refused.
- Whoever opens a store first upgrades it, in one transaction; others that open it at that moment wait.
- SQLite has one writer at a time. `writing` asks for the turn at once: a transaction that reads first and writes later
  would be refused where another has written in between, and what it has read would be old.
"""

import contextlib
import fcntl
import logging
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, inspect, make_url, select
from sqlalchemy.exc import SQLAlchemyError

from edgeward_runtimes.errors import MonitorError, one_line

_MIGRATIONS = Path(__file__).parent / "migrations"
_BEFORE_MIGRATIONS = "0000"
_BUSY_MS = 10_000


def open_engine(url: str) -> Engine:
    """Connect, and make the tables or bring them up to date.

    Raises:
        MonitorError: When the store cannot be reached or written, or a later edgeward has written it.
    """
    try:
        engine = engine_of(url)
        _bring_up_to_date(engine)
    except (SQLAlchemyError, ImportError) as error:
        raise MonitorError(f"The store {_shown(url)} cannot be opened: {one_line(error)}.") from error
    return engine


def engine_of(url: str) -> Engine:
    """Ways to connect to a store, whatever is in it. Raises SQLAlchemyError for what is no URL, ImportError."""
    engine = create_engine(_with_driver(make_url(url)))
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _tune_sqlite)
    return engine


@contextlib.contextmanager
def writing(store: Engine | Connection) -> Iterator[Connection]:
    """A transaction that writes, committed at the end. Keep it short: on SQLite all other writers wait for it."""
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(store.connect()) if isinstance(store, Engine) else store
        stack.enter_context(connection.begin())
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection


@contextlib.contextmanager
def alone(engine: Engine, work: str) -> Iterator[Connection | None]:
    """A connection for work that one process at a time may do, or None while another does it.

    The lock ends with the connection or the process, however that ends: PostgreSQL's is an advisory lock of the
    session (its documentation, section 13.3.5), SQLite's a lock on a file beside the store.
    """
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(engine.connect())
        if engine.dialect.name == "postgresql":
            is_ours = bool(connection.execute(select(func.pg_try_advisory_lock(_lock_number(work)))).scalar())
            stack.callback(_unlock, connection, work)
            connection.commit()
        else:
            is_ours = _lock_file(stack, engine.url.database, work)
        yield connection if is_ours else None


def _unlock(connection: Connection, work: str) -> None:
    if not connection.invalidated:
        connection.rollback()
        connection.execute(select(func.pg_advisory_unlock(_lock_number(work))))


def _lock_file(stack: contextlib.ExitStack, database: str | None, work: str) -> bool:
    if database in (None, "", ":memory:"):
        return True
    file = os.open(f"{database}-{work}", os.O_RDWR | os.O_CREAT, 0o600)
    stack.callback(os.close, file)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_number(work: str) -> int:
    return zlib.crc32(f"edgeward {work}".encode())


def _bring_up_to_date(engine: Engine) -> None:
    """Upgrade to the newest schema that this edgeward knows, unless it is there: then nothing is written."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    with engine.connect() as connection:
        if _revision(connection) == scripts.get_current_head():
            return
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_lock_number("migrations"))))
        _check_known(connection, scripts)
        config.attributes["connection"] = connection
        _upgrade(connection, config)


def _check_known(connection: Connection, scripts: Any) -> None:
    current, known = _revision(connection), {script.revision for script in scripts.walk_revisions()}
    if current is not None and current not in known:
        raise MonitorError(
            f"The store {connection.engine.url.render_as_string()} is of a later edgeward: its schema is {current}, the"
            f" newest known here is {scripts.get_current_head()}. Upgrade edgeward, or set another [store] url."
        )


def _upgrade(connection: Connection, config: Any) -> None:
    from alembic import command

    logging.getLogger("alembic").setLevel(logging.WARNING)
    if _revision(connection) is None and inspect(connection).has_table("counters"):
        command.stamp(config, _BEFORE_MIGRATIONS)
    command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    """The schema that the store has; None when it is empty or was made without alembic."""
    from alembic.migration import MigrationContext

    return MigrationContext.configure(connection).get_current_revision()


def _with_driver(url: URL) -> URL:
    """PostgreSQL's driver is psycopg 3 unless the URL names one."""
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgresql", "postgres") else url


def _shown(url: str) -> str:
    """The URL without its password."""
    try:
        return make_url(url).render_as_string()
    except SQLAlchemyError:
        return url


def _tune_sqlite(connection: Any, _record: Any) -> None:
    """Write-ahead log: readers never wait for the writer, and a commit survives the death of the process."""
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    _use_write_ahead_log(cursor)
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _use_write_ahead_log(cursor: sqlite3.Cursor) -> None:
    """SQLite does not wait by itself for another connection that turns a new file to the same mode."""
    until = time.monotonic() + _BUSY_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
