"""Rollouts and what is known of their devices: read from the store, written back.

A step is written in one transaction with the requests that it makes, and only when nobody has changed the rollout
since it was read: what was not written has not happened, and what was written is asked for.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, bindparam, insert, select, update

from edgeward.monitor import schema
from edgeward.monitor.queries.conditions import online
from edgeward.monitor.rollouts import plan
from edgeward.monitor.rollouts.gates import Calls, Compared
from edgeward.monitor.rollouts.state import ACTIVE, TOUCHED, Fact, Member, Reply, Rollout, Terms
from edgeward.monitor.rollouts.tables import rollout_devices, rollouts
from edgeward.monitor.rollouts.terms import is_release_of, stage_sizes
from edgeward_runtimes.errors import MonitorError
from edgeward_runtimes.latency import counters as packed
from edgeward_runtimes.latency.counters import Counters
from edgeward_runtimes.latency.histogram import Histogram

_MEMBER = ("state", "before", "attempt", "refusals", "asked_at", "message")


class Kept(msgspec.Struct, frozen=True):
    """A rollout as it was read, at which revision."""

    rollout: Rollout
    revision: int


def unfinished(connection: Connection) -> list[str]:
    """The ids of rollouts that still have something to do, the oldest first."""
    holding = select(rollout_devices.c.rollout_id).where(rollout_devices.c.holds.is_not(None))
    is_open = rollouts.c.state.in_(ACTIVE) | rollouts.c.id.in_(holding)
    return list(connection.execute(select(rollouts.c.id).where(is_open).order_by(rollouts.c.created_at)).scalars())


def read(connection: Connection, rollout_id: str) -> Kept:
    """One rollout. Raises MonitorError when there is none."""
    row = connection.execute(select(rollouts).where(rollouts.c.id == rollout_id)).one_or_none()
    if row is None:
        raise MonitorError(f"There is no rollout {rollout_id!r}; edgeward fleet rollouts lists those that are.")
    query = select(rollout_devices).where(rollout_devices.c.rollout_id == rollout_id)
    members = connection.execute(query.order_by(rollout_devices.c.position)).all()
    rollout = Rollout(
        id=row.id,
        terms=msgspec.json.decode(row.terms, type=Terms),
        members=tuple(Member(each.device_id, *(getattr(each, name) for name in _MEMBER)) for each in members),
        state=row.state,
        stage=row.stage,
        complete_at=row.complete_at,
        outcome=row.outcome,
        reason=row.reason,
    )
    return Kept(rollout, row.revision)


def create(connection: Connection, rollout: Rollout, created_by: str) -> None:
    """Write a rollout that begins."""
    now = time.time()
    fixed = {"created_at": now, "created_by": created_by, "terms": msgspec.json.encode(rollout.terms).decode()}
    connection.execute(insert(rollouts).values(id=rollout.id, revision=0, **fixed, **_columns(rollout, now)))
    rows = [
        {"rollout_id": rollout.id, "position": position, **_member_columns(rollout, member)}
        for position, member in enumerate(rollout.members)
    ]
    connection.execute(insert(rollout_devices), rows)


def write(connection: Connection, before: Kept, after: Rollout) -> bool:
    """Write what has changed. False, and nothing is written, when somebody was faster."""
    now = time.time()
    changed = connection.execute(
        update(rollouts)
        .where(rollouts.c.id == after.id, rollouts.c.revision == before.revision)
        .values(revision=before.revision + 1, **_columns(after, now))
    )
    if changed.rowcount != 1:
        return False
    ends = (before.rollout.state in ACTIVE) != (after.state in ACTIVE)
    pairs = zip(before.rollout.members, after.members, strict=True)
    rows = [_member_columns(after, new) for old, new in pairs if ends or old != new]
    if rows:
        table = rollout_devices
        statement = update(table).where(table.c.rollout_id == after.id, table.c.device_id == bindparam("member"))
        connection.execute(statement, [{"member": each.pop("device_id"), **each} for each in rows])
    return True


def remember_counted(connection: Connection, rollout: Rollout, device_ids: Iterable[str]) -> None:
    """Keep what devices that are asked for the first time have counted of the new release: it is not to be judged."""
    counters, table = schema.counters, rollout_devices
    for device_id in device_ids:
        key = (counters.c.device_id == device_id, counters.c.model == rollout.terms.model)
        rows = connection.execute(select(counters).where(*key)).all()
        content = packed.pack(_counters(row) for row in rows if is_release_of(row.release, rollout.terms.version))
        key = (table.c.rollout_id == rollout.id, table.c.device_id == device_id)
        connection.execute(update(table).where(*key).values(counted=content))


def facts(connection: Connection, rollout: Rollout, now: float) -> dict[str, Fact]:
    """What is known of a rollout's devices at `now`, Unix seconds."""
    from edgeward.monitor.requests import requests

    table, devices, models = rollout_devices, schema.devices, schema.models
    on_device = (models.c.device_id == table.c.device_id) & (models.c.model == rollout.terms.model)
    query = (
        select(
            *(table.c[name] for name in ("device_id", "attempt", "before", "counted")),
            devices.c.last_seen,
            online(now).label("is_online"),
            *(models.c[name] for name in ("installed", "release", "drift_score")),
            *(requests.c[name] for name in ("answered_at", "ok")),
            requests.c.message.label("said"),
        )
        .join(devices, devices.c.id == table.c.device_id)
        .outerjoin(models, on_device)
        .outerjoin(requests, requests.c.id == table.c.request_id)
        .where(table.c.rollout_id == rollout.id)
    )
    counted = _counted(connection, rollout)
    found = connection.execute(query).all()
    return {row.device_id: _fact(rollout, row, counted.get(row.device_id, ()), now) for row in found}


def _fact(rollout: Rollout, row: Any, counted: Sequence[Counters], now: float) -> Fact:
    release = row.release if row.installed else None
    runs_it = release is not None and is_release_of(release, rollout.terms.version)
    old = row.before if row.attempt else release
    compared = None
    if counted:
        earlier = {each.key: each for each in packed.unpack(row.counted or packed.pack(()))}
        new = [each.since(earlier.get(each.key, Counters(*each.key, 0, Histogram()))) for each in counted]
        is_new = [is_release_of(each.release, rollout.terms.version) for each in counted]
        compared = Compared(
            _calls(each for each in counted if each.release == old),
            _calls(each for each, is_ours in zip(new, is_new, strict=True) if is_ours),
            row.drift_score if runs_it else None,
        )
    reply = None if row.answered_at is None else Reply(bool(row.ok), row.said or "")
    return Fact(bool(row.is_online), release, reply, compared, max(0.0, now - row.last_seen))


def _counted(connection: Connection, rollout: Rollout) -> dict[str, list[Counters]]:
    """The model's counters on the devices that are to be judged: those that run it, or that the start depends on."""
    table, counters = rollout_devices, schema.counters
    is_judged = table.c.state == "installed"
    if not any(each.attempt for each in rollout.members):
        first = stage_sizes(rollout.terms.stages, len(rollout.members))[rollout.stage]
        is_judged = is_judged | (table.c.position < first)
    query = (
        select(counters)
        .join(table, table.c.device_id == counters.c.device_id)
        .where(table.c.rollout_id == rollout.id, counters.c.model == rollout.terms.model, is_judged)
    )
    found: dict[str, list[Counters]] = {}
    if rollout.state in ("running", "paused"):
        for row in connection.execute(query):
            found.setdefault(row.device_id, []).append(_counters(row))
    return found


def _counters(row: Row[Any]) -> Counters:
    return Counters(row.release, row.epoch, row.errors, Histogram.decode(row.histogram))


def _calls(counted: Iterable[Counters]) -> Calls:
    errors, histogram = 0, Histogram()
    for each in counted:
        errors += each.errors
        histogram = histogram.merge(each.histogram)
    return Calls(histogram, errors)


def _columns(rollout: Rollout, now: float) -> dict[str, Any]:
    names = ("state", "stage", "complete_at", "outcome", "reason")
    return {**{name: getattr(rollout, name) for name in names}, "changed_at": now}


def _member_columns(rollout: Rollout, member: Member) -> dict[str, Any]:
    holds = rollout.state in ACTIVE or (rollout.state != "done" and member.state in TOUCHED)
    return {
        "device_id": member.device_id,
        **{name: getattr(member, name) for name in _MEMBER},
        "request_id": plan.request_id(rollout.id, member) if member.attempt else None,
        "holds": rollout.terms.model if holds else None,
    }
