"""The monitor's tables. Times are Unix seconds; a `start` is that of the minute, hour or day that a row is about.

- `counters` is the truth: cumulative totals per (device, model, release, epoch), of which the larger always wins.
- `latency_*`, `health_*` and `observed_*` are series for charts and alerts, by the minute as it arrived, and from
  there by the hour and the day (`rollups`). The fleet is one more device in them, `FLEET`, which `rollups` writes.
- `changes` says what is still to be rolled up: whoever writes a row of a series adds one in the same transaction.

Series are keyed by time first: what a batch writes, a roll-up reads and retention deletes lies together then.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Boolean, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table
from sqlalchemy.types import BigInteger

from edgeward_runtimes.sparkplug.codec import DataType
from edgeward_runtimes.sparkplug.metrics import FACTS, HEALTH, OBSERVED, SENSORS

MINUTE, HOUR, DAY = 60, 3_600, 86_400  # the resolutions of a series, in seconds
FLEET = ""  # the device_id of a series over all devices

# What of a device, and of a model on it, is kept over time.
HEALTH_SERIES = tuple(name for name, kind in {**HEALTH, **SENSORS}.items() if kind is DataType.DOUBLE)
OBSERVED_SERIES = tuple(name for name, kind in OBSERVED.items() if kind is DataType.DOUBLE)

metadata = MetaData()

_SQL_TYPES = {
    DataType.STRING: String,
    DataType.DOUBLE: Float,
    DataType.UINT64: BigInteger,
    DataType.BYTES: LargeBinary,
}
_RowId = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up integers alone

devices = Table(
    "devices",
    metadata,
    Column("id", String, primary_key=True),  # fleet/device
    Column("fleet", String, nullable=False),
    Column("device", String, nullable=False),
    Column("online", Boolean, nullable=False),
    Column("last_seen", Float, nullable=False),
    Column("born_at", Float),
    Column("clock_skew_s", Float),  # what its clock is ahead of ours
    Column("interval_s", Float),
    *(Column(name, _SQL_TYPES[kind]) for name, kind in {**FACTS, **HEALTH, **SENSORS}.items()),
)

models = Table(
    "models",
    metadata,
    Column("device_id", String, primary_key=True),
    Column("model", String, primary_key=True),
    Column("installed", Boolean, nullable=False, default=False),
    Column("release", String),
    Column("variant", String),
    Column("engine", String),
    Column("runs_on", String),
    Column("warning", String),
    *(Column(name, _SQL_TYPES[kind]) for name, kind in OBSERVED.items()),
)

counters = Table(
    "counters",
    metadata,
    Column("device_id", String, primary_key=True),
    Column("model", String, primary_key=True, index=True),
    Column("release", String, primary_key=True),
    Column("epoch", String, primary_key=True),
    Column("predictions", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("histogram", LargeBinary, nullable=False),
)

ingest = Table(
    "ingest",
    metadata,
    Column("name", String, primary_key=True),
    Column("count", BigInteger, nullable=False),
)

logs = Table(
    "logs",
    metadata,
    Column("id", _RowId, primary_key=True),
    Column("device_id", String, nullable=False),
    Column("at", Float, nullable=False, index=True),
    Column("level", String, nullable=False),
    Column("logger", String, nullable=False),
    Column("text", String, nullable=False),
    Index("ix_logs_device_id_at", "device_id", "at"),
)


def _series(name: str, *columns: Column[Any]) -> Table:
    start = Column("start", BigInteger, primary_key=True, autoincrement=False)
    return Table(name, metadata, start, *columns, sqlite_with_rowid=False)


def _key(names: Iterable[str]) -> list[Column[Any]]:
    return [Column(name, String, primary_key=True) for name in names]


def _latency(name: str) -> Table:
    """Predictions that ended in a period, with their latencies."""
    counts: list[Column[Any]] = [Column(each, BigInteger, nullable=False) for each in ("predictions", "errors")]
    histogram = Column("histogram", LargeBinary, nullable=False)
    return _series(name, *_key(("device_id", "model", "release")), *counts, histogram)


def _readings(name: str, key: Iterable[str], values: Iterable[str]) -> Table:
    """The last reading of each minute."""
    return _series(name, *_key(key), *(Column(value, Float) for value in values))


def _summaries(name: str, key: Iterable[str], values: Iterable[str]) -> Table:
    """A longer period: the mean over its readings, of which there are `readings`, and the largest of them."""
    both = [Column(column, Float) for value in values for column in (value, f"{value}_max")]
    return _series(name, *_key(key), Column("readings", BigInteger, nullable=False), *both)


_BY_DEVICE, _BY_MODEL = ("device_id",), ("device_id", "model")

latency = {
    MINUTE: _latency("latency_minutes"),
    HOUR: _latency("latency_hours"),
    DAY: _latency("latency_days"),
}
health = {
    MINUTE: _readings("health_minutes", _BY_DEVICE, HEALTH_SERIES),
    HOUR: _summaries("health_hours", _BY_DEVICE, HEALTH_SERIES),
    DAY: _summaries("health_days", _BY_DEVICE, HEALTH_SERIES),
}
observed = {
    MINUTE: _readings("observed_minutes", _BY_MODEL, OBSERVED_SERIES),
    HOUR: _summaries("observed_hours", _BY_MODEL, OBSERVED_SERIES),
    DAY: _summaries("observed_days", _BY_MODEL, OBSERVED_SERIES),
}

changes = Table(
    "changes",
    metadata,
    Column("id", _RowId, primary_key=True),
    Column("series", String, nullable=False),  # latency, health, observed
    Column("resolution", Integer, nullable=False),  # of the rows that are to be made (again)
    Column("start", BigInteger, nullable=False),
    Column("device_id", String, nullable=False),  # of one device, or FLEET: of any
    Index("ix_changes", "resolution", "series", "start"),
)

horizons = Table(  # retention has deleted what starts before `start`, so nothing can be rolled up from there again
    "horizons",
    metadata,
    Column("series", String, primary_key=True),
    Column("resolution", Integer, primary_key=True, autoincrement=False),
    Column("start", BigInteger, nullable=False),
)
