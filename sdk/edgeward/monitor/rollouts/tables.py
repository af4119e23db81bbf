"""The tables of groups, rollouts and desired releases. Times are Unix seconds."""

from sqlalchemy import (
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from edgeward.monitor.schema import metadata

groups = Table(
    "groups",
    metadata,
    Column("name", String, primary_key=True),
    Column("patterns", Text, nullable=False),  # of device ids, a JSON array
)

desired = Table(
    "desired",
    metadata,
    Column("group_name", String, primary_key=True),
    Column("model", String, primary_key=True),
    Column("version", String, nullable=False),
    Column("registry", String),
    Column("set_at", Float, nullable=False),
    Column("set_by", String, nullable=False),
)

desired_devices = Table(  # those that were asked, because they do not run what they should
    "desired_devices",
    metadata,
    Column("device_id", String, primary_key=True),
    Column("model", String, primary_key=True),
    Column("version", String, nullable=False),
    Column("request_id", String, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("asked_at", Float, nullable=False),
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("id", String, primary_key=True),
    Column("created_at", Float, nullable=False, index=True),
    Column("created_by", String, nullable=False),
    Column("terms", Text, nullable=False),  # `state.Terms` as JSON
    Column("state", String, nullable=False, index=True),
    Column("stage", Integer, nullable=False),
    Column("complete_at", Float),
    Column("outcome", String),
    Column("reason", Text, nullable=False),
    Column("changed_at", Float, nullable=False),
    Column("revision", Integer, nullable=False),  # counts changes: who writes must have read the latest
)

rollout_devices = Table(
    "rollout_devices",
    metadata,
    Column("rollout_id", String, ForeignKey("rollouts.id"), primary_key=True),
    Column("device_id", String, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("before", String),
    Column("attempt", Integer, nullable=False),
    Column("refusals", Integer, nullable=False),
    Column("asked_at", Float, nullable=False),
    Column("message", Text, nullable=False),
    Column("request_id", String),  # of the latest attempt
    Column("counted", LargeBinary),  # the new release's counters on this device before it was asked, packed
    Column("holds", String),  # the model, as long as no other rollout may change it there
    UniqueConstraint("device_id", "holds", name="rollout_devices_holds"),
    Index("rollout_devices_position", "rollout_id", "position"),
)
