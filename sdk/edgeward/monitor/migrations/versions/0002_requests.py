"""What devices are asked to do, and what they answered."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "requests",
        sa.Column("id", sa.String, primary_key=True),
        *(sa.Column(name, sa.String, nullable=False) for name in ("device_id", "command", "arguments", "asked_by")),
        *(sa.Column(name, sa.Float, nullable=False) for name in ("asked_at", "expires_at")),
        *(sa.Column(name, sa.Float) for name in ("sent_at", "answered_at")),
        sa.Column("ok", sa.Boolean),
        sa.Column("message", sa.String),
        sa.Column("parts", sa.Integer),
    )
    op.create_index("ix_requests_device_id_asked_at", "requests", ["device_id", "asked_at"])
    op.create_index("ix_requests_answered_at", "requests", ["answered_at"])
    op.create_table(
        "request_contents",
        sa.Column("request_id", sa.String, primary_key=True),
        sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
