"""Series by minute, hour and day; logs; what sensors and the models' data say."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = "0000"

_HEALTH = (
    "cpu_percent",
    "load_1m",
    "memory_used_percent",
    "disk_used_percent",
    "temperature_c",
    "uptime_s",
)
_SENSORS = (
    "throttled",
    "power_w",
    "energy_per_prediction_j",
    "gpu_percent",
    "gpu_temperature_c",
    "clock_offset_ms",
)
_OBSERVED = ("drift_score", "mean_confidence", "accuracy")


def upgrade() -> None:
    """Add what is new, and take the series over; their releases were not kept."""
    for name in ("born_at", "clock_skew_s", *_SENSORS):
        op.add_column("devices", sa.Column(name, sa.Float))
    op.add_column("devices", sa.Column("throttling", sa.String))
    for name in ("spool_rows", "spool_dropped", "logs_dropped"):
        op.add_column("devices", sa.Column(name, sa.BigInteger))
    for name in _OBSERVED:
        op.add_column("models", sa.Column(name, sa.Float))
    op.add_column("models", sa.Column("feedback_count", sa.BigInteger))
    op.add_column("models", sa.Column("observations", sa.LargeBinary))
    _make_logs()
    _make_series()
    _make_changes()
    _take_over()


def _make_logs() -> None:
    op.create_table(
        "logs",
        _row_id(),
        sa.Column("device_id", sa.String, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in ("level", "logger", "text")),
    )
    op.create_index("ix_logs_at", "logs", ["at"])
    op.create_index("ix_logs_device_id_at", "logs", ["device_id", "at"])


def _make_series() -> None:
    for period in ("minutes", "hours", "days"):
        counts = [sa.Column(name, sa.BigInteger, nullable=False) for name in ("predictions", "errors")]
        histogram: sa.Column[Any] = sa.Column("histogram", sa.LargeBinary, nullable=False)
        _make(f"latency_{period}", ("device_id", "model", "release"), *counts, histogram)
    for series, key, values in (
        ("health", ("device_id",), (*_HEALTH, *_SENSORS)),
        ("observed", ("device_id", "model"), _OBSERVED),
    ):
        _make(f"{series}_minutes", key, *(sa.Column(value, sa.Float) for value in values))
        for period in ("hours", "days"):
            both = (sa.Column(name, sa.Float) for value in values for name in (value, f"{value}_max"))
            _make(f"{series}_{period}", key, sa.Column("readings", sa.BigInteger, nullable=False), *both)


def _make(name: str, key: tuple[str, ...], *columns: "sa.Column[Any]") -> None:
    start: sa.Column[Any] = sa.Column("start", sa.BigInteger, primary_key=True, autoincrement=False)
    keys = (sa.Column(each, sa.String, primary_key=True) for each in key)
    op.create_table(name, start, *keys, *columns, sqlite_with_rowid=False)


def _make_changes() -> None:
    op.create_table(
        "changes",
        _row_id(),
        sa.Column("series", sa.String, nullable=False),
        sa.Column("resolution", sa.Integer, nullable=False),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("device_id", sa.String, nullable=False),
    )
    op.create_index("ix_changes", "changes", ["resolution", "series", "start"])
    op.create_table(
        "horizons",
        sa.Column("series", sa.String, primary_key=True),
        sa.Column("resolution", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("start", sa.BigInteger, nullable=False),
    )


def _take_over() -> None:
    counted = "predictions, errors, histogram"
    health = ", ".join(_HEALTH)
    for statement in (
        f"INSERT INTO latency_minutes (start, device_id, model, release, {counted})"  # noqa: S608
        f" SELECT minute, device_id, model, '', {counted} FROM latency",
        f"INSERT INTO health_minutes (start, device_id, {health}) SELECT minute, device_id, {health} FROM health",  # noqa: S608
        *(
            f"INSERT INTO changes (series, resolution, start, device_id)"  # noqa: S608
            f" SELECT DISTINCT '{series}', 60, minute, '' FROM {series}"
            for series in ("latency", "health")
        ),
    ):
        op.execute(statement)
    op.drop_table("latency")
    op.drop_table("health")


def _row_id() -> "sa.Column[Any]":
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True)
