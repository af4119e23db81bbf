"""Asking devices: a request is a row until it is answered, however often device, broker and monitor go away meanwhile.

- A device is asked one thing at a time, in the order of asking: an install that got lost must not come after the
  rollback that followed it. What is not answered is asked again every few seconds while the device is online; devices
  know a request by its id, and do nothing twice.
- An answer counts only from the device that was asked, and only the first. Content comes in parts, in any order.
- A request that expires, or is taken back, is answered by us: not ok.
"""

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    LargeBinary,
    Row,
    String,
    Table,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from edgeward.monitor import schema
from edgeward.monitor.database import writing
from edgeward.monitor.updates import AnswerSeen
from edgeward_runtimes.errors import ConfigError
from edgeward_runtimes.sparkplug.requests import Request

_ASK_AGAIN_S = 10.0
_EXPIRES_AFTER_S = 86_400.0
_MOST_PARTS = 1024
_CONTENT_KEPT_S = 7 * 86_400.0
_KEPT_S = 90 * 86_400.0

requests = Table(
    "requests",
    schema.metadata,
    Column("id", String, primary_key=True),
    Column("device_id", String, nullable=False),
    Column("command", String, nullable=False),
    Column("arguments", String, nullable=False),  # JSON
    Column("asked_by", String, nullable=False),
    Column("asked_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("sent_at", Float),
    Column("answered_at", Float),
    Column("ok", Boolean),
    Column("message", String),
    Column("parts", Integer),
    Index("ix_requests_device_id_asked_at", "device_id", "asked_at"),
    Index("ix_requests_answered_at", "answered_at"),
)

contents = Table(
    "request_contents",
    schema.metadata,
    Column("request_id", String, primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("content", LargeBinary, nullable=False),
)


@dataclass(frozen=True)
class Result:
    """How a request stands. Times are Unix seconds; `answered_at`, `ok` and `message` are null until it is answered.

    `parts` says in how many parts its content comes, `parts_here` how many have come.
    """

    id: str
    device_id: str
    command: str
    arguments: dict[str, Any]
    asked_by: str
    asked_at: float
    expires_at: float
    sent_at: float | None
    answered_at: float | None
    ok: bool | None
    message: str | None
    parts: int | None
    parts_here: int


def ask(
    engine: Engine,
    device_id: str,
    command: str,
    arguments: Mapping[str, Any],
    asked_by: str,
    *,
    id: str | None = None,  # noqa: A002 (its name everywhere)
    expires_after_s: float = _EXPIRES_AFTER_S,
) -> str:
    """Have a device do something; it is asked when it is online. Returns the request's id.

    Args:
        engine: The store.
        device_id: `fleet/device`.
        command: What its agent knows by this name.
        arguments: What JSON can say.
        asked_by: Who, for people.
        id: Up to 64 characters; asked again with one id, it is one request. By default a new one.
        expires_after_s: How long an answer is waited for.

    Raises:
        ConfigError: When arguments are no JSON, or id or command too long.
    """
    with writing(engine) as connection:
        return ask_in(connection, device_id, command, arguments, asked_by, id=id, expires_after_s=expires_after_s)


def ask_in(
    connection: Connection,
    device_id: str,
    command: str,
    arguments: Mapping[str, Any],
    asked_by: str,
    *,
    id: str | None = None,  # noqa: A002
    expires_after_s: float = _EXPIRES_AFTER_S,
) -> str:
    """The same, in a transaction that does more."""
    number = secrets.token_hex(16) if id is None else id
    if not (1 <= len(number) <= 64 and 1 <= len(command) <= 64):
        raise ConfigError(f"A request's id and command have 1 to 64 characters, not {number!r} and {command!r}.")
    try:
        packed = json.dumps(dict(arguments), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"The arguments of {command} cannot be said in JSON: {error}.") from None
    now = time.time()
    row = {"id": number, "device_id": device_id, "command": command, "arguments": packed, "asked_by": asked_by}
    statement = _dialect(connection).insert(requests).on_conflict_do_nothing()
    connection.execute(statement, {**row, "asked_at": now, "expires_at": now + expires_after_s})
    return number


def cancel(engine: Engine, id: str) -> None:  # noqa: A002
    """Take a request back: it is not sent again, and counts as answered, not ok; unless it is answered already."""
    with writing(engine) as connection:
        cancel_in(connection, id)


def cancel_in(connection: Connection, id: str) -> None:  # noqa: A002
    """The same, in a transaction that does more."""
    _close(connection, requests.c.id == id, time.time(), "cancelled")


def result(engine: Engine, id: str) -> Result | None:  # noqa: A002
    """How a request stands, or None when there is none of this id."""
    return next(iter(_results(engine, requests.c.id == id)), None)


def results(engine: Engine, device_id: str | None = None, *, limit: int = 100, offset: int = 0) -> list[Result]:
    """Requests, of one device or of all, the latest first."""
    where = requests.c.device_id == device_id if device_id is not None else requests.c.id.is_not(None)
    return _results(engine, where, limit, offset)


def content(engine: Engine, id: str) -> bytes | None:  # noqa: A002
    """What a device sent with its answer; None before it is answered, empty when it sent nothing."""
    query = select(contents.c.content).where(contents.c.request_id == id).order_by(contents.c.part)
    with engine.connect() as connection:
        is_answered = select(requests.c.id).where(requests.c.id == id, requests.c.answered_at.is_not(None))
        if connection.execute(is_answered).first() is None:
            return None
        return b"".join(connection.execute(query).scalars())


def due(engine: Engine, now: float, limit: int) -> list[tuple[str, Request]]:
    """What is to be sent to devices that are online, as (device id, request); `sent` says that it was."""
    earlier = requests.alias("earlier")
    is_waiting_for_earlier = exists().where(
        earlier.c.device_id == requests.c.device_id,
        earlier.c.answered_at.is_(None),
        earlier.c.expires_at > now,
        or_(
            earlier.c.asked_at < requests.c.asked_at,
            and_(earlier.c.asked_at == requests.c.asked_at, earlier.c.id < requests.c.id),
        ),
    )
    query = (
        select(requests.c.device_id, requests.c.id, requests.c.command, requests.c.arguments)
        .join(schema.devices, schema.devices.c.id == requests.c.device_id)
        .where(requests.c.answered_at.is_(None), requests.c.expires_at > now, schema.devices.c.online)
        .where(or_(requests.c.sent_at.is_(None), requests.c.sent_at < now - _ASK_AGAIN_S), ~is_waiting_for_earlier)
        .order_by(requests.c.asked_at)
        .limit(limit)
    )
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    return [(row.device_id, Request(row.id, row.command, json.loads(row.arguments))) for row in rows]


def sent(engine: Engine, ids: Sequence[str], now: float) -> None:
    """These were sent."""
    with writing(engine) as connection:
        connection.execute(update(requests).where(requests.c.id.in_(ids)).values(sent_at=now))


def answered(connection: Connection, seen: AnswerSeen) -> None:
    """Take an answer, or a part of it."""
    answer = seen.answer
    is_it = and_(
        requests.c.id == answer.id,
        requests.c.device_id == f"{seen.fleet}/{seen.device}",
        requests.c.answered_at.is_(None),
    )
    if connection.execute(select(requests.c.id).where(is_it).with_for_update()).first() is None:
        return
    if answer.parts > _MOST_PARTS or answer.part >= answer.parts:
        _close(connection, is_it, seen.at, f"it answered in {answer.parts} parts; {_MOST_PARTS} are possible")
        return
    if answer.content or answer.parts > 1:
        row = {"request_id": answer.id, "part": answer.part, "content": answer.content}
        connection.execute(_dialect(connection).insert(contents).on_conflict_do_nothing(), row)
    here = connection.execute(_count_parts(answer.id)).scalar_one()
    is_whole = answer.parts in (1, here)
    values: dict[str, Any] = {"sent_at": seen.at, "parts": answer.parts}  # it is not asked again while it answers
    if is_whole:
        values |= {"answered_at": seen.at, "ok": answer.ok, "message": answer.message.replace("\0", "")}
    connection.execute(update(requests).where(is_it).values(**values))


def tidy(engine: Engine, now: float) -> None:
    """Close what has expired; delete contents after a week, and requests after three months."""
    old = select(requests.c.id).where(requests.c.answered_at < now - _CONTENT_KEPT_S)
    with writing(engine) as connection:
        expired = and_(requests.c.answered_at.is_(None), requests.c.expires_at <= now)
        _close(connection, expired, now, "it expired before the device answered")
        connection.execute(delete(contents).where(contents.c.request_id.in_(old)))
        connection.execute(delete(requests).where(requests.c.answered_at < now - _KEPT_S))


def _close(connection: Connection, which: ColumnElement[bool], now: float, message: str) -> None:
    open_ones = and_(which, requests.c.answered_at.is_(None))
    connection.execute(update(requests).where(open_ones).values(answered_at=now, ok=False, message=message))


def _results(engine: Engine, where: ColumnElement[bool], limit: int = 1, offset: int = 0) -> list[Result]:
    parts_here = _count_parts(requests.c.id).scalar_subquery().label("parts_here")
    order = (requests.c.asked_at.desc(), requests.c.id)
    query = select(requests, parts_here).where(where).order_by(*order).limit(limit).offset(offset)
    with engine.connect() as connection:
        return [_result(row) for row in connection.execute(query)]


def _result(row: Row[Any]) -> Result:
    return Result(**{**row._mapping, "arguments": json.loads(row.arguments)})


def _count_parts(request_id: Any) -> Any:
    return select(func.count()).select_from(contents).where(contents.c.request_id == request_id)


def _dialect(connection: Connection) -> Any:
    return postgresql if connection.dialect.name == "postgresql" else sqlite
