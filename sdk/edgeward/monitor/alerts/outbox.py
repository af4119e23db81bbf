"""Notifications between the transaction that makes them and their delivery: at least once, however often we die.

- A notification is written with the alerts that it tells of, or not at all.
- Word of one rule goes to a channel at once; what follows within a while is gathered into one more. Once it is due
  it never changes: repeats of an id are equal, and a receiver may drop them.
- Whoever delivers takes it first, by setting when it is tried next: dying after that costs a pause, and two that
  deliver do not take the same one.
"""

from collections.abc import Iterable

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import ColumnElement, Connection, Engine, and_, delete, insert, or_, select, update

from edgeward.monitor.alerts.tables import notifications
from edgeward.monitor.database import writing

LISTED = 50  # alerts in one notification; beyond that they are counted
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 3600.0
_GIVE_UP_AFTER_S = 86_400.0


class Told(Struct, frozen=True):
    """An alert, as a notification tells of it. Times are Unix seconds."""

    id: str
    state: str
    fleet: str
    device: str
    model: str
    message: str
    value: float | None
    threshold: float
    since: float
    fired_at: float | None
    resolved_at: float | None


class Word(Struct, frozen=True):
    """What happened to alerts of one rule. `alerts` are the first of them; `firing` and `resolved` count all."""

    id: str
    rule: str
    kind: str
    severity: str
    firing: int
    resolved: int
    alerts: tuple[Told, ...]


class Due(Struct, frozen=True):
    """A notification to deliver now; `attempt` counts from 1."""

    channel: str
    attempt: int
    due_at: float
    word: Word


def put(connection: Connection, channel: str, word: Word, now: float, group_s: float) -> None:
    """Write a notification, or add to the one that gathers. The transaction has to be one that writes."""
    table = notifications
    latest = connection.execute(
        select(table.c.id, table.c.body, table.c.due_at, table.c.attempts)
        .where(table.c.channel == channel, table.c.rule == word.rule)
        .order_by(table.c.due_at.desc())
        .limit(1)
    ).one_or_none()
    if latest is not None and latest.attempts == 0 and now < latest.due_at <= now + group_s:
        body = _written(_together(_read(latest.body), word))
        connection.execute(update(table).where(table.c.id == latest.id).values(body=body))
        return
    due_at = now if latest is None or latest.due_at > now else max(now, latest.due_at + group_s)
    row = {"id": word.id, "channel": channel, "rule": word.rule, "body": _written(word), "attempts": 0}
    connection.execute(insert(table).values(**row, due_at=due_at, try_at=due_at))


def take(engine: Engine, channel: str, now: float) -> Due | None:
    """What is to be delivered to a channel now, the oldest first; it is ours until it is tried again."""
    table = notifications
    due = (table.c.channel == channel, _is_open(), table.c.try_at <= now)
    with engine.connect() as connection:  # a look takes no turn to write
        if connection.execute(select(table.c.id).where(*due).limit(1)).one_or_none() is None:
            return None
    with writing(engine) as connection:
        query = select(table).where(*due).order_by(table.c.due_at).limit(1)
        row = connection.execute(query.with_for_update(skip_locked=True)).one_or_none()
        if row is None:
            return None
        later = now + min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(row.attempts, 20))
        where = table.c.id == row.id
        connection.execute(update(table).where(where).values(attempts=row.attempts + 1, try_at=later))
    return Due(channel, row.attempts + 1, row.due_at, _read(row.body))


def abandon(engine: Engine, channels: Iterable[str], now: float) -> None:
    """Give up what is for channels that are no more."""
    gone = (_is_open(), notifications.c.channel.not_in(list(channels)))
    with writing(engine) as connection:
        values = {"gave_up_at": now, "error": "alerts.toml has no such channel any more"}
        connection.execute(update(notifications).where(*gone).values(values))


def delivered(engine: Engine, due: Due, now: float) -> None:
    """It has arrived."""
    _change(engine, due, sent_at=now, error=None)


def failed(engine: Engine, due: Due, error: str, now: float, *, for_good: bool = False) -> bool:
    """It has not arrived; gives whether that was the last attempt, after a day or when trying again cannot help."""
    gives_up = for_good or now - due.due_at > _GIVE_UP_AFTER_S
    _change(engine, due, error=error[:500], gave_up_at=now if gives_up else None)
    return gives_up


def forget(connection: Connection, before: float) -> None:
    """Delete what was due before a time and needs no delivery any more."""
    table = notifications
    done = or_(table.c.sent_at.is_not(None), table.c.gave_up_at.is_not(None))
    connection.execute(delete(table).where(done, table.c.due_at < before))


def _is_open() -> ColumnElement[bool]:
    return and_(notifications.c.sent_at.is_(None), notifications.c.gave_up_at.is_(None))


def _change(engine: Engine, due: Due, **values: object) -> None:
    with writing(engine) as connection:
        connection.execute(update(notifications).where(notifications.c.id == due.word.id).values(**values))


def _together(first: Word, then: Word) -> Word:
    """One word of both; where they tell of one alert, as it stands last."""
    alerts = {told.id: told for told in (*first.alerts, *then.alerts)}
    return replace(
        first,
        firing=first.firing + then.firing,
        resolved=first.resolved + then.resolved,
        alerts=tuple(alerts.values())[:LISTED],
    )


def _written(word: Word) -> str:
    return msgspec.json.encode(word).decode()


def _read(body: str) -> Word:
    return msgspec.json.decode(body, type=Word)
