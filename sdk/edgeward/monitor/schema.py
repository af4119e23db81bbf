"""The monitor's tables. Times are Unix seconds; minutes are Unix seconds at the minute's start.

`counters` is the truth: cumulative totals per (device, model, release, epoch), of which the larger always wins.
`latency` and `health` are series by the minute in which something arrived, for charts.
"""

from sqlalchemy import Boolean, Column, Float, Integer, LargeBinary, MetaData, String, Table
from sqlalchemy.types import BigInteger

from edgeward_runtimes.sparkplug.codec import DataType
from edgeward_runtimes.sparkplug.metrics import FACTS, HEALTH

metadata = MetaData()

_SQL_TYPES = {DataType.STRING: String, DataType.DOUBLE: Float}

devices = Table(
    "devices",
    metadata,
    Column("id", String, primary_key=True),  # fleet/device
    Column("fleet", String, nullable=False),
    Column("device", String, nullable=False),
    Column("online", Boolean, nullable=False),
    Column("last_seen", Float, nullable=False),
    Column("interval_s", Float),
    *(Column(name, _SQL_TYPES[kind]) for name, kind in {**FACTS, **HEALTH}.items()),
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

latency = Table(
    "latency",
    metadata,
    Column("device_id", String, primary_key=True),
    Column("model", String, primary_key=True),
    Column("minute", Integer, primary_key=True),
    Column("predictions", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("histogram", LargeBinary, nullable=False),
)

health = Table(
    "health",
    metadata,
    Column("device_id", String, primary_key=True),
    Column("minute", Integer, primary_key=True),
    *(Column(name, Float) for name in HEALTH),
)

ingest = Table(
    "ingest",
    metadata,
    Column("name", String, primary_key=True),
    Column("count", BigInteger, nullable=False),
)
