"""One evaluation of all rules: what was measured goes in, one transaction of alerts and notifications comes out.

- The store is read before the transaction, which only applies what came of it: other writers do not wait for scans.
- An alert is told once it fires and no silence holds, and again when it is resolved if it was told.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Row, bindparam, delete, insert, or_, select, update

from edgeward.monitor.alerts import outbox
from edgeward.monitor.alerts.lifecycle import Status, Zone, step
from edgeward.monitor.alerts.measures import Measures
from edgeward.monitor.alerts.outbox import LISTED, Told, Word
from edgeward.monitor.alerts.queries import Silence, holding_silences
from edgeward.monitor.alerts.rules import AlertConfig
from edgeward.monitor.alerts.seeing import Active, Link, Seen, seen
from edgeward.monitor.alerts.storms import Subject
from edgeward.monitor.alerts.tables import alerts, silences
from edgeward.monitor.database import writing

_KEEP_S = 90 * 86_400.0


class Change(NamedTuple):
    """An alert's row, as it is to be."""

    before: Row[Any] | None
    row: dict[str, Any]


class Rounds:
    """Evaluates, again and again."""

    def __init__(self, engine: Engine, config: AlertConfig) -> None:
        self._engine = engine
        self._config = config
        self._measures = Measures(config)

    def run(self, now: float, link: Link) -> None:
        """Evaluate once. Raises sqlalchemy.exc.OperationalError while the store is away."""
        with self._engine.connect() as connection:
            look = None if link.wrong else self._measures.look(connection, now)
            holding = holding_silences(connection, now)
            active = _active(connection)
        changes = list(_changes(active, seen(self._config, look, active, now, link), now))
        told = [change for change in changes if _is_to_be_told(change.row, holding)]
        for change in told:
            change.row["told"] = True
        if not changes:
            return
        with writing(self._engine) as connection:
            _write(connection, changes)
            for word, channels in _words(self._config, told):
                for channel in channels:
                    outbox.put(connection, channel, _anew(word), now, self._config.group)

    def prune(self, now: float) -> None:
        """Delete what is long over."""
        before = now - _KEEP_S
        with writing(self._engine) as connection:
            connection.execute(delete(alerts).where(alerts.c.resolved_at < before))
            connection.execute(delete(silences).where(silences.c.until < before))
            outbox.forget(connection, before)


def _active(connection: Connection) -> Active:
    rows = connection.execute(select(alerts).where(or_(alerts.c.state == "pending", alerts.c.state == "firing")))
    return {(row.rule, Subject(row.fleet, row.device, row.model)): row for row in rows}


def _changes(active: Active, found: Iterable[Seen], now: float) -> Iterator[Change]:
    """What becomes of each alert; those that stay as they are are left out, unless they may have to be told."""
    for each in found:
        before = active.get((each.rule, each.subject))
        status = step(None if before is None else _status(before), each.zone, now, each.timing, held=each.held)
        if status is None:
            if before is not None:
                yield Change(before, {})
            continue
        row = _row(before, each, status)
        is_untold = row["state"] == "firing" and not row["told"]
        if before is None or is_untold or any(before._mapping[name] != value for name, value in row.items()):
            yield Change(before, row)


def _status(row: Row[Any]) -> Status:
    return Status(row.since, row.fired_at, row.clear_since, row.resolved_at)


def _row(before: Row[Any] | None, seen: Seen, status: Status) -> dict[str, Any]:
    if before is None or (seen.message and seen.zone is not Zone.UNKNOWN):
        said = {"value": seen.value, "message": seen.message}
    else:  # what was the matter stays said
        said = {"value": before.value, "message": before.message}
    return {
        "id": uuid.uuid4().hex if before is None else before.id,
        "rule": seen.rule,
        "kind": seen.kind,
        "severity": seen.severity,
        **dict(zip(("fleet", "device", "model"), seen.subject, strict=True)),
        "state": status.state,
        **said,
        "threshold": seen.threshold,
        "since": status.since,
        "fired_at": status.fired_at,
        "clear_since": status.clear_since,
        "resolved_at": status.resolved_at,
        "told": before is not None and before.told,
    }


def _is_to_be_told(row: Mapping[str, Any], holding: Iterable[Silence]) -> bool:
    if not row or row["state"] == "pending":
        return False
    if row["state"] == "resolved":
        return bool(row["told"])
    subject = str(Subject(row["fleet"], row["device"], row["model"]))
    return not row["told"] and not any(silence.covers(row["rule"], subject) for silence in holding)


def _write(connection: Connection, changes: list[Change]) -> None:
    new = [change.row for change in changes if change.before is None]
    forgotten = [{"key": change.before.id} for change in changes if change.before is not None and not change.row]
    changed = [
        {**{name: value for name, value in change.row.items() if name != "id"}, "key": change.row["id"]}
        for change in changes
        if change.before is not None and change.row
    ]
    if new:
        connection.execute(insert(alerts), new)
    if forgotten:
        connection.execute(delete(alerts).where(alerts.c.id == bindparam("key")), forgotten)
    if changed:
        connection.execute(update(alerts).where(alerts.c.id == bindparam("key")), changed)


def _words(config: AlertConfig, told: list[Change]) -> Iterator[tuple[Word, Iterable[str]]]:
    """One notification a rule, and the channels that it goes to."""
    channels = {rule.title: rule.notify for rule in config.alert}
    by_rule: dict[str, list[dict[str, Any]]] = {}
    for change in told:
        by_rule.setdefault(change.row["rule"], []).append(change.row)
    for title, rows in by_rule.items():
        states = [row["state"] for row in rows]
        listed = tuple(Told(**{name: row[name] for name in Told.__struct_fields__}) for row in rows[:LISTED])
        chosen = channels.get(title)
        word = Word(
            "", title, rows[0]["kind"], rows[0]["severity"], states.count("firing"), states.count("resolved"), listed
        )
        yield word, config.channels if chosen is None else chosen


def _anew(word: Word) -> Word:
    return Word(uuid.uuid4().hex, *(getattr(word, name) for name in Word.__struct_fields__[1:]))
