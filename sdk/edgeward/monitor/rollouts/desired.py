"""What each group should run, and the devices that do not: those that were replaced, away, or changed by hand.

A device is asked for the release that its group should run when it has been heard of since its birth, runs another,
and no rollout has its model; not more than some at a time, and one that fails again and again more and more rarely.
Where a device is in several groups, what was set last counts.
"""

import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, Engine, Row, delete, func, select

from edgeward.monitor import schema
from edgeward.monitor.access import audit
from edgeward.monitor.database import writing
from edgeward.monitor.queries.conditions import online
from edgeward.monitor.rollouts import asking, groups
from edgeward.monitor.rollouts.state import Ask
from edgeward.monitor.rollouts.tables import desired, desired_devices, rollout_devices
from edgeward.monitor.rollouts.terms import is_release_of

AT_ONCE = 20
FIRST_AGAIN_S, LAST_AGAIN_S = 60.0, 3600.0
_SETTLED_S = 5.0  # after a birth, until its models have been told
_ANSWER_S = 900.0


@dataclass(frozen=True)
class Desired:
    """What a group should run of a model. `set_at` is Unix seconds."""

    group: str
    model: str
    version: str
    registry: str | None
    set_at: float
    set_by: str


class Need(Struct, frozen=True):
    """A device that runs something else than it should; how often it was asked already, when, and if it answered."""

    device_id: str
    model: str
    version: str
    registry: str | None = None
    attempt: int = 0
    asked_at: float = 0.0
    answered: bool = False


def desire(connection: Connection, group: str, model: str, version: str, registry: str | None, who: str) -> None:
    """Set what a group should run of a model."""
    connection.execute(delete(desired).where(desired.c.group_name == group, desired.c.model == model))
    row = {"group_name": group, "model": model, "version": version, "registry": registry}
    connection.execute(desired.insert().values(**row, set_at=time.time(), set_by=who))
    audit.record(connection, who, "desired.set", group, f"{model} {version}")


def set_desired(engine: Engine, group: str, model: str, version: str | None, registry: str | None, who: str) -> None:
    """Set what a group should run of a model, or that nobody minds (None). Raises MonitorError for an unknown group."""
    with writing(engine) as connection:
        groups.read(connection, group)
        if version is not None:
            desire(connection, group, model, version, registry, who)
            return
        connection.execute(delete(desired).where(desired.c.group_name == group, desired.c.model == model))
        audit.record(connection, who, "desired.unset", group, model)


def all_desired(connection: Connection) -> list[Desired]:
    """What all groups should run, what was set first at the front."""
    rows = connection.execute(select(desired).order_by(desired.c.set_at)).all()
    return [Desired(row.group_name, row.model, row.version, row.registry, row.set_at, row.set_by) for row in rows]


def reconcile(connection: Connection, now: float) -> int:
    """Ask devices that should run something else; how many were asked."""
    wanted = all_desired(connection)
    if not wanted:
        return 0
    asked = chosen(_needs(connection, wanted, now), now)
    for need in asked:
        request_id = f"desired-{secrets.token_hex(12)}"
        arguments = {"name": need.model, "version": need.version}
        if need.registry is not None:
            arguments["registry"] = need.registry
        asking.ask(connection, Ask(request_id, need.device_id, "install", arguments), "desired state")
        key = {"device_id": need.device_id, "model": need.model}
        connection.execute(delete(desired_devices).where(*(desired_devices.c[name] == key[name] for name in key)))
        row = {**key, "version": need.version, "request_id": request_id, "attempt": need.attempt + 1, "asked_at": now}
        connection.execute(desired_devices.insert().values(row))
    return len(asked)


def chosen(needs: Iterable[Need], now: float) -> list[Need]:
    """Whose turn it is: those never asked first, and never more under way than `AT_ONCE`. Pure."""
    needs = list(needs)
    under_way = [each for each in needs if each.attempt and not each.answered and now - each.asked_at < _ANSWER_S]
    rested = [
        each
        for each in needs
        if each not in under_way
        and (
            not each.attempt
            or now - each.asked_at >= min(LAST_AGAIN_S, FIRST_AGAIN_S * 2.0 ** min(each.attempt - 1, 20))
        )
    ]
    return sorted(rested, key=lambda each: (each.attempt, each.asked_at, each.device_id))[
        : max(0, AT_ONCE - len(under_way))
    ]


def _needs(connection: Connection, wanted: list[Desired], now: float) -> list[Need]:
    """Every device that is there, free, and runs something else than wanted."""
    patterns = {each.name: each.patterns for each in groups.all_groups(connection)}
    ids = list(connection.execute(_settled(now)).scalars())
    releases = {(row.device_id, row.model): row.release for row in connection.execute(_installed())}
    held = {(row.device_id, row.holds) for row in connection.execute(_held())}
    asked = {(row.device_id, row.model): row for row in connection.execute(_asked())}
    needs: dict[tuple[str, str], Need] = {}
    for each in wanted:
        for device_id in ids:
            key = (device_id, each.model)
            if not groups.matches(patterns.get(each.group, ()), device_id):
                continue
            needs.pop(key, None)  # what was set later counts
            if key in held or is_release_of(releases.get(key) or "", each.version):
                continue
            needs[key] = _need(each, device_id, asked.get(key))
    return list(needs.values())


def _need(wanted: Desired, device_id: str, asked: Row[Any] | None) -> Need:
    if asked is None or asked.version != wanted.version:
        return Need(device_id, wanted.model, wanted.version, wanted.registry)
    answered = asked.answered_at is not None
    return Need(device_id, wanted.model, wanted.version, wanted.registry, asked.attempt, asked.asked_at, answered)


def _settled(now: float) -> Any:
    devices = schema.devices
    born_at = func.coalesce(devices.c.born_at, 0.0)
    return select(devices.c.id).where(online(now), born_at <= now - _SETTLED_S)


def _installed() -> Any:
    models = schema.models
    return select(models.c.device_id, models.c.model, models.c.release).where(models.c.installed)


def _held() -> Any:
    return select(rollout_devices.c.device_id, rollout_devices.c.holds).where(rollout_devices.c.holds.is_not(None))


def _asked() -> Any:
    from edgeward.monitor.requests import requests

    answered = requests.c.answered_at
    return select(desired_devices, answered).outerjoin(requests, requests.c.id == desired_devices.c.request_id)
