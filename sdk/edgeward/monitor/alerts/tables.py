"""The tables of alerts, on the monitor's metadata. Times are Unix seconds.

An alert has one row from pending on. Where it is about no device, or no model, those columns are empty strings.
"""

from sqlalchemy import Boolean, Column, Float, Index, Integer, String, Table, Text

from edgeward.monitor.schema import metadata

alerts = Table(
    "alerts",
    metadata,
    Column("id", String, primary_key=True),
    Column("rule", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("severity", String, nullable=False),
    Column("fleet", String, nullable=False),
    Column("device", String, nullable=False),
    Column("model", String, nullable=False),
    Column("state", String, nullable=False),
    Column("value", Float),
    Column("threshold", Float, nullable=False),
    Column("message", Text, nullable=False),
    Column("since", Float, nullable=False),  # of the condition
    Column("fired_at", Float),
    Column("clear_since", Float),  # firing, but the condition is gone since then
    Column("resolved_at", Float),
    Column("told", Boolean, nullable=False, default=False),  # a notification of its firing was written
    Index("alerts_by_state", "state", "since"),
)

silences = Table(
    "silences",
    metadata,
    Column("id", String, primary_key=True),
    Column("match", String, nullable=False),  # a glob over fleet, fleet/device or fleet/device/model
    Column("rule", String, nullable=False),  # a glob
    Column("reason", Text, nullable=False),
    Column("created_by", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("until", Float, nullable=False, index=True),
)

notifications = Table(
    "notifications",
    metadata,
    Column("id", String, primary_key=True),
    Column("channel", String, nullable=False),
    Column("rule", String, nullable=False),
    Column("body", Text, nullable=False),  # JSON
    Column("due_at", Float, nullable=False),  # until then it gathers; from then on it never changes
    Column("try_at", Float, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("sent_at", Float),
    Column("gave_up_at", Float),
    Column("error", Text),
    Index("notifications_by_channel", "channel", "rule", "due_at"),
)
