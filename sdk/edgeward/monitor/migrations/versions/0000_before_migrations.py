"""The tables of edgeward 0.1, which made them without alembic."""

import sqlalchemy as sa
from alembic import op

revision = "0000"
down_revision = None

_HEALTH = (
    "cpu_percent",
    "load_1m",
    "memory_used_percent",
    "disk_used_percent",
    "temperature_c",
    "uptime_s",
)


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "devices",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("fleet", sa.String, nullable=False),
        sa.Column("device", sa.String, nullable=False),
        sa.Column("online", sa.Boolean, nullable=False),
        sa.Column("last_seen", sa.Float, nullable=False),
        sa.Column("interval_s", sa.Float),
        *(sa.Column(name, sa.String) for name in ("target", "edgeward_version", "python_version", "architecture")),
        sa.Column("keep_alive_s", sa.Float),
        *(sa.Column(name, sa.Float) for name in _HEALTH),
    )
    op.create_table(
        "models",
        sa.Column("device_id", sa.String, primary_key=True),
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("installed", sa.Boolean, nullable=False),
        *(sa.Column(name, sa.String) for name in ("release", "variant", "engine", "runs_on", "warning")),
    )
    op.create_table(
        "counters",
        *(sa.Column(name, sa.String, primary_key=True) for name in ("device_id", "model", "release", "epoch")),
        sa.Column("predictions", sa.BigInteger, nullable=False),
        sa.Column("errors", sa.BigInteger, nullable=False),
        sa.Column("histogram", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_counters_model", "counters", ["model"])
    op.create_table(
        "latency",
        *(sa.Column(name, sa.String, primary_key=True) for name in ("device_id", "model")),
        sa.Column("minute", sa.Integer, primary_key=True),
        sa.Column("predictions", sa.BigInteger, nullable=False),
        sa.Column("errors", sa.BigInteger, nullable=False),
        sa.Column("histogram", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "health",
        sa.Column("device_id", sa.String, primary_key=True),
        sa.Column("minute", sa.Integer, primary_key=True),
        *(sa.Column(name, sa.Float) for name in _HEALTH),
    )
    op.create_table(
        "ingest",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
    )
