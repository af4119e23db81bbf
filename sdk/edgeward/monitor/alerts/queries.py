"""Reading: what REST, the dashboard and the command line show of alerts, as frozen dataclasses."""

import time
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Connection, Engine, Row, case, func, select

from edgeward.monitor.alerts.storms import Subject
from edgeward.monitor.alerts.tables import alerts as alert_table
from edgeward.monitor.alerts.tables import notifications as notification_table
from edgeward.monitor.alerts.tables import silences as silence_table

State = Literal["pending", "firing", "resolved"]
Severity = Literal["critical", "warning", "info"]


@dataclass(frozen=True)
class Alert:
    """One alert. Times are Unix seconds; `device` and `model` are None where it is not about one.

    `since` is when its condition began, `fired_at` when that had lasted long enough, `value` the last one measured.
    `silenced` says whether a silence holds now.
    """

    id: str
    rule: str
    kind: str
    severity: str
    state: str
    fleet: str | None
    device: str | None
    model: str | None
    message: str
    value: float | None
    threshold: float
    since: float
    fired_at: float | None
    resolved_at: float | None
    silenced: bool


@dataclass(frozen=True)
class Silence:
    """A time in which alerts that match tell nobody; they are shown all the same. Times are Unix seconds."""

    id: str
    match: str
    rule: str
    reason: str
    created_by: str
    created_at: float
    until: float

    def covers(self, rule: str, subject: str) -> bool:
        """Whether it is about alerts of a rule about a subject: fleet, fleet/device or fleet/device/model."""
        return fnmatchcase(rule, self.rule) and any(
            fnmatchcase(subject, glob) for glob in (self.match, f"{self.match}/*")
        )


@dataclass(frozen=True)
class Notification:
    """Word of alerts to one channel. Times are Unix seconds; `error` is why the last attempt failed."""

    id: str
    channel: str
    rule: str
    due_at: float
    try_at: float
    attempts: int
    sent_at: float | None
    gave_up_at: float | None
    error: str | None


def alerts(
    engine: Engine, *, state: State | None = None, device_id: str | None = None, limit: int = 100, offset: int = 0
) -> list[Alert]:
    """Alerts: the firing ones first, then pending, then resolved; in each the latest first.

    Args:
        engine: The store.
        state: Only those in it.
        device_id: Only those about the device `fleet/device` or a model on it.
        limit, offset: Which part of the list.
    """
    table = alert_table
    query = select(table).order_by(_rank(), table.c.since.desc(), table.c.id).limit(limit).offset(offset)
    if state is not None:
        query = query.where(table.c.state == state)
    if device_id is not None:
        query = query.where(table.c.fleet + "/" + table.c.device == device_id)
    holding = silences(engine)
    with engine.connect() as connection:
        return [_alert(row, holding) for row in connection.execute(query)]


def counts(engine: Engine) -> dict[str, int]:
    """How many alerts fire, by severity."""
    table = alert_table
    query = select(table.c.severity, func.count()).where(table.c.state == "firing").group_by(table.c.severity)
    with engine.connect() as connection:
        found = {row[0]: row[1] for row in connection.execute(query)}
    return {severity: found.get(severity, 0) for severity in get_args(Severity)}


def silences(engine: Engine, *, now: float | None = None) -> list[Silence]:
    """The silences that hold now, or at another time; the one that ends first comes first."""
    at = time.time() if now is None else now
    with engine.connect() as connection:
        return holding_silences(connection, at)


def holding_silences(connection: Connection, at: float) -> list[Silence]:
    """The silences that hold at a time."""
    table = silence_table
    query = select(table).where(table.c.until > at).order_by(table.c.until, table.c.id)
    return [Silence(**row._mapping) for row in connection.execute(query)]


def notifications(engine: Engine, limit: int = 100) -> list[Notification]:
    """The latest notifications, delivered or not."""
    table = notification_table
    columns = [table.c[name] for name in Notification.__dataclass_fields__]
    with engine.connect() as connection:
        rows = connection.execute(select(*columns).order_by(table.c.due_at.desc()).limit(limit))
        return [Notification(**row._mapping) for row in rows]


def _rank() -> ColumnElement[int]:
    return case({state: rank for rank, state in enumerate(("firing", "pending"))}, value=alert_table.c.state, else_=2)


def _alert(row: Row[Any], holding: list[Silence]) -> Alert:
    subject = Subject(row.fleet, row.device, row.model)
    shown = {name: row._mapping[name] for name in Alert.__dataclass_fields__ if name in row._mapping}
    blank = {name: shown[name] or None for name in ("fleet", "device", "model")}
    return Alert(**{**shown, **blank}, silenced=any(each.covers(row.rule, str(subject)) for each in holding))
