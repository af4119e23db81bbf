"""Groups, rollouts, and what each group should run."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "groups", sa.Column("name", sa.String, primary_key=True), sa.Column("patterns", sa.Text, nullable=False)
    )
    _make_desired()
    _make_rollouts()
    _make_rollout_devices()


def _make_desired() -> None:
    op.create_table(
        "desired",
        sa.Column("group_name", sa.String, primary_key=True),
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("registry", sa.String),
        sa.Column("set_at", sa.Float, nullable=False),
        sa.Column("set_by", sa.String, nullable=False),
    )
    op.create_table(
        "desired_devices",
        sa.Column("device_id", sa.String, primary_key=True),
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("asked_at", sa.Float, nullable=False),
    )


def _make_rollouts() -> None:
    op.create_table(
        "rollouts",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("created_at", sa.Float, nullable=False, index=True),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("terms", sa.Text, nullable=False),
        sa.Column("state", sa.String, nullable=False, index=True),
        sa.Column("stage", sa.Integer, nullable=False),
        sa.Column("complete_at", sa.Float),
        sa.Column("outcome", sa.String),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("changed_at", sa.Float, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
    )


def _make_rollout_devices() -> None:
    op.create_table(
        "rollout_devices",
        sa.Column("rollout_id", sa.String, sa.ForeignKey("rollouts.id"), primary_key=True),
        sa.Column("device_id", sa.String, primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("before", sa.String),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("refusals", sa.Integer, nullable=False),
        sa.Column("asked_at", sa.Float, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("request_id", sa.String),
        sa.Column("counted", sa.LargeBinary),
        sa.Column("holds", sa.String),
        sa.UniqueConstraint("device_id", "holds", name="rollout_devices_holds"),
    )
    op.create_index("rollout_devices_position", "rollout_devices", ["rollout_id", "position"])
