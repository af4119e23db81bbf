"""The audit: what was done, by whom. It only grows; what it says is written in the transaction that does it."""

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, insert, select

from edgeward.monitor.access.tables import audit


@dataclass(frozen=True)
class Deed:
    """Something that somebody did. `at` is Unix seconds."""

    id: int
    at: float
    who: str
    action: str
    subject: str
    detail: str


def record(connection: Connection, who: str, action: str, subject: str, detail: str = "") -> None:
    """Write down an action, such as `token.create`, and what it was done to."""
    connection.execute(
        insert(audit).values(at=time.time(), who=who, action=action, subject=subject, detail=detail[:2000])
    )


def deeds(engine: Engine, *, before: int | None = None, subject: str | None = None, limit: int = 100) -> list[Deed]:
    """The latest first; `before` continues after the last id of an earlier answer."""
    query = select(audit).order_by(audit.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(audit.c.id < before)
    if subject is not None:
        query = query.where(audit.c.subject == subject)
    with engine.connect() as connection:
        return [_deed(row) for row in connection.execute(query)]


def _deed(row: Row[Any]) -> Deed:
    return Deed(row.id, row.at, row.who, row.action, row.subject, row.detail)
