"""What REST and the dashboard show of rollouts, as frozen dataclasses (FastAPI documents those)."""

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Row, func, select

from edgeward.monitor.access.audit import Deed, deeds
from edgeward.monitor.rollouts import gates, records
from edgeward.monitor.rollouts.gates import Compared
from edgeward.monitor.rollouts.state import AWAY, Fact, Member, Rollout, Terms
from edgeward.monitor.rollouts.tables import rollout_devices, rollouts
from edgeward.monitor.rollouts.terms import stage_sizes


@dataclass(frozen=True)
class Summary:
    """A rollout in one line. Times are Unix seconds.

    Attributes:
        id: What commands name it by.
        stage: The stage that it is in, from 1.
        stages: Shares of the devices.
        soaked_at: When the stage's soak is over; None: the stage is not complete.
        reason: What it waits for, or why it ended.
        devices: How many it is for.
        progress: How many devices are in which state.
    """

    id: str
    model: str
    version: str
    group: str
    state: str
    stage: int
    stages: list[float]
    soaked_at: float | None
    reason: str
    created_at: float
    created_by: str
    changed_at: float
    devices: int
    progress: dict[str, int]


@dataclass(frozen=True)
class OnDevice:
    """A rollout on one device, in the order in which devices are reached.

    Attributes:
        stage: In which stage it is reached, from 1.
        state: waiting, asked, installed, present, refused, overdue, returning, returned or stuck.
        before: The release that it had.
        release: The one that it tells to run.
    """

    device_id: str
    stage: int
    state: str
    online: bool
    before: str | None
    release: str | None
    attempts: int
    message: str


@dataclass(frozen=True)
class Judged:
    """What gates see at this moment, over all devices that run the new release; None: nothing is counted."""

    old_p95_ms: float | None
    new_p95_ms: float | None
    old_calls: int
    new_calls: int
    old_errors: int
    new_errors: int
    drift: float | None


@dataclass(frozen=True)
class Detail:
    """A rollout in full."""

    rollout: Summary
    gates: dict[str, float | None]
    soak_s: float
    samples: int
    max_failed: float
    judged: Judged
    members: list[OnDevice]
    history: list[Deed]


def summaries(engine: Engine, *, state: str | None = None, limit: int = 100, offset: int = 0) -> list[Summary]:
    """Rollouts, the latest first; all, or those in one state."""
    query = select(rollouts).order_by(rollouts.c.created_at.desc(), rollouts.c.id).limit(limit).offset(offset)
    if state is not None:
        query = query.where(rollouts.c.state == state)
    with engine.connect() as connection:
        rows = connection.execute(query).all()
        return [_summary(row, _progress(connection, row.id)) for row in rows]


def detail(engine: Engine, rollout_id: str, *, members: int = 1000) -> Detail:
    """One rollout, with so many of its devices, the first ones. Raises MonitorError when there is none."""
    with engine.connect() as connection:
        rollout = records.read(connection, rollout_id).rollout
        facts = records.facts(connection, rollout, time.time())
        row = connection.execute(select(rollouts).where(rollouts.c.id == rollout_id)).one()
    terms = rollout.terms
    installed = {each.device_id for each in rollout.members if each.state == "installed"}
    compared = [fact.compared for each, fact in facts.items() if each in installed and fact.compared is not None]
    return Detail(
        _summary(row, Counter(each.state for each in rollout.members)),
        msgspec.structs.asdict(terms.gates),
        terms.soak_s,
        terms.samples,
        terms.max_failed,
        _judged(compared),
        _members(rollout, facts)[:members],
        deeds(engine, subject=rollout_id),
    )


def on_device(engine: Engine, device_id: str) -> list[Summary]:
    """The rollouts that a device was in, the latest first."""
    table = rollout_devices
    query = select(rollouts).join(table, table.c.rollout_id == rollouts.c.id).where(table.c.device_id == device_id)
    with engine.connect() as connection:
        rows = connection.execute(query.order_by(rollouts.c.created_at.desc())).all()
        return [_summary(row, _progress(connection, row.id)) for row in rows]


def _summary(row: Row[Any], progress: Mapping[str, int]) -> Summary:
    terms = msgspec.json.decode(row.terms, type=Terms)
    return Summary(
        row.id,
        terms.model,
        terms.version,
        terms.group,
        row.state,
        row.stage + 1,
        list(terms.stages),
        None if row.complete_at is None else row.complete_at + terms.soak_s,
        row.reason,
        row.created_at,
        row.created_by,
        row.changed_at,
        sum(progress.values()),
        dict(progress),
    )


def _progress(connection: Connection, rollout_id: str) -> dict[str, int]:
    table = rollout_devices
    query = select(table.c.state, func.count()).where(table.c.rollout_id == rollout_id).group_by(table.c.state)
    return dict(connection.execute(query).tuples().all())


def _members(rollout: Rollout, facts: Mapping[str, Fact]) -> list[OnDevice]:
    sizes = stage_sizes(rollout.terms.stages, len(rollout.members))
    stages = [bisect_right(sizes, position) + 1 for position in range(len(rollout.members))]
    return [
        _on_device(member, stage, facts.get(member.device_id, AWAY))
        for member, stage in zip(rollout.members, stages, strict=True)
    ]


def _on_device(member: Member, stage: int, fact: Fact) -> OnDevice:
    return OnDevice(
        member.device_id, stage, member.state, fact.online, member.before, fact.release, member.attempt, member.message
    )


def _judged(devices: Sequence[Compared]) -> Judged:
    before, now = gates.p95_ms(devices)
    drifts = [each.drift for each in devices if each.drift is not None]
    return Judged(
        before,
        now,
        sum(each.old.count for each in devices),
        sum(each.new.count for each in devices),
        sum(each.old.errors for each in devices),
        sum(each.new.errors for each in devices),
        max(drifts, default=None),
    )
