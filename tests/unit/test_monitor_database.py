"""Opening a store: made or brought up to date exactly once, nothing of an older one lost, a later one refused."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, select, text

import edgeward.monitor.access.tables
import edgeward.monitor.alerts.tables
import edgeward.monitor.requests
import edgeward.monitor.rollouts.tables  # noqa: F401 — they declare their tables on schema.metadata
from edgeward.monitor import database, schema
from edgeward.monitor.database import open_engine
from edgeward_runtimes.errors import MonitorError
from edgeward_runtimes.latency.histogram import Histogram


def test_a_store_has_the_tables_that_the_code_declares(store_url: str) -> None:
    engine = open_engine(store_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []


def test_a_store_made_before_there_were_migrations_keeps_all_it_holds(store_url: str) -> None:
    histogram = Histogram.of([1_000_000, 3_000_000])
    _make_as_before(database.engine_of(store_url), histogram)
    engine = open_engine(store_url)
    with engine.connect() as connection:
        assert connection.execute(select(schema.devices.c.id, schema.devices.c.last_seen)).all() == [("f/d", 99)]
        assert connection.execute(select(schema.models.c.model, schema.models.c.installed)).all() == [("m", True)]
        assert connection.execute(select(schema.counters)).all() == [("f/d", "m", "r", "e", 2, 1, histogram.encode())]
        assert connection.execute(select(schema.ingest)).all() == [("dropped", 3)]
        assert connection.execute(select(schema.latency[schema.MINUTE])).all() == [
            (120, "f/d", "m", "", 2, 1, histogram.encode())
        ]
        health = schema.health[schema.MINUTE]
        assert connection.execute(select(health.c.start, health.c.temperature_c)).all() == [(60, 41.5)]
        changes = connection.execute(select(schema.changes.c.series, schema.changes.c.start)).all()
        assert sorted(changes) == [("health", 60), ("latency", 120)], "what is to be rolled up"
    assert not {"latency", "health"} & set(inspect(engine).get_table_names())


def _make_as_before(engine: Engine, histogram: Histogram) -> None:
    scripts = ScriptDirectory(str(Path(database.__file__).parent / "migrations"))
    with engine.begin() as connection:
        with Operations.context(MigrationContext.configure(connection)):
            scripts.get_revision("0000").module.upgrade()
        counted = {"histogram": histogram.encode()}
        for statement, values in (
            ("INSERT INTO devices (id, fleet, device, online, last_seen) VALUES ('f/d', 'f', 'd', true, 99)", {}),
            ("INSERT INTO models (device_id, model, installed) VALUES ('f/d', 'm', true)", {}),
            ("INSERT INTO counters VALUES ('f/d', 'm', 'r', 'e', 2, 1, :histogram)", counted),
            ("INSERT INTO latency VALUES ('f/d', 'm', 120, 2, 1, :histogram)", counted),
            ("INSERT INTO health (device_id, minute, temperature_c) VALUES ('f/d', 60, 41.5)", {}),
            ("INSERT INTO ingest VALUES ('dropped', 3)", {}),
        ):
            connection.execute(text(statement), values)
    engine.dispose()


def test_any_number_may_open_an_empty_store_at_once(store_url: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        engines = list(pool.map(open_engine, [store_url] * 8))
    for engine in engines:
        with engine.connect() as connection:
            assert connection.execute(select(schema.devices)).all() == []


def test_a_store_of_a_later_edgeward_is_refused_and_left_alone(store_url: str) -> None:
    engine = open_engine(store_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(MonitorError, match=r"of a later edgeward: its schema is 9999, .* Upgrade edgeward"):
        open_engine(store_url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "9999"


def test_an_upgrade_that_fails_leaves_the_store_as_it_was(store_url: str) -> None:
    engine = database.engine_of(store_url)
    _make_as_before(engine, Histogram.of([1]))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE logs (mine TEXT)"))
    with pytest.raises(MonitorError, match="cannot be opened"):
        open_engine(store_url)
    tables = set(inspect(create_engine(engine.url)).get_table_names())
    assert {"latency", "health", "logs"} <= tables
    assert not {"changes", "latency_minutes", "alembic_version"} & tables


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me:secret@127.0.0.1:{port}/x", "me:\\*\\*\\*@127.0.0.1"),
        ("nonsense", "nonsense"),
        ("sqlite:////no/such/folder/x.db", "unable to open"),
    ],
)
def test_a_store_that_cannot_be_reached_is_named_without_its_password(
    url: str, said: str, free_port: Callable[[], int]
) -> None:
    with pytest.raises(
        MonitorError, match=f"The store .*{said}.* cannot be opened|cannot be opened: .*{said}"
    ) as error:
        open_engine(url.format(port=free_port()))
    assert "secret" not in str(error.value)


def test_work_is_done_by_one_at_a_time_and_by_the_next_after_its_end(store_url: str) -> None:
    first, second = open_engine(store_url), open_engine(store_url)
    with database.alone(first, "work") as ours:
        assert ours is not None
        with database.alone(second, "work") as theirs, database.alone(second, "other work") as other:
            assert theirs is None
            assert other is not None
    with database.alone(second, "work") as theirs:
        assert theirs is not None
