"""Alerts, silences, and notifications that wait for their delivery."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "alerts",
        sa.Column("id", sa.String, primary_key=True),
        *(sa.Column(name, sa.String, nullable=False) for name in ("rule", "kind", "severity")),
        *(sa.Column(name, sa.String, nullable=False) for name in ("fleet", "device", "model", "state")),
        sa.Column("value", sa.Float),
        sa.Column("threshold", sa.Float, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("since", sa.Float, nullable=False),
        *(sa.Column(name, sa.Float) for name in ("fired_at", "clear_since", "resolved_at")),
        sa.Column("told", sa.Boolean, nullable=False),
    )
    op.create_index("alerts_by_state", "alerts", ["state", "since"])
    op.create_table(
        "silences",
        sa.Column("id", sa.String, primary_key=True),
        *(sa.Column(name, sa.String, nullable=False) for name in ("match", "rule")),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("until", sa.Float, nullable=False),
    )
    op.create_index("ix_silences_until", "silences", ["until"])
    op.create_table(
        "notifications",
        sa.Column("id", sa.String, primary_key=True),
        *(sa.Column(name, sa.String, nullable=False) for name in ("channel", "rule")),
        sa.Column("body", sa.Text, nullable=False),
        *(sa.Column(name, sa.Float, nullable=False) for name in ("due_at", "try_at")),
        sa.Column("attempts", sa.Integer, nullable=False),
        *(sa.Column(name, sa.Float) for name in ("sent_at", "gave_up_at")),
        sa.Column("error", sa.Text),
    )
    op.create_index("notifications_by_channel", "notifications", ["channel", "rule", "due_at"])
