"""What people do with rollouts: start, pause, resume, abort. Each is in the audit, in the transaction that does it."""

import re
import secrets
import time
from collections.abc import Callable

from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.exc import IntegrityError

from edgeward.monitor import schema
from edgeward.monitor.access import audit
from edgeward.monitor.database import writing
from edgeward.monitor.queries.conditions import online
from edgeward.monitor.rollouts import groups, plan, records
from edgeward.monitor.rollouts.state import ACTIVE, Member, Rollout, Terms
from edgeward.monitor.rollouts.tables import rollout_devices, rollouts
from edgeward_runtimes.errors import ConfigError, MonitorError
from edgeward_runtimes.manifest import NAME_PATTERN, NAME_RULE


def start(engine: Engine, terms: Terms, who: str) -> str:
    """Begin a rollout; gives its id.

    Raises:
        ConfigError: When the terms make no sense.
        MonitorError: When the group is unknown or empty, or another rollout of the model is on one of its devices.
    """
    _check(terms)
    rollout_id = secrets.token_hex(6)
    with writing(engine) as connection:
        devices = groups.read(connection, terms.group).devices
        if not devices:
            raise MonitorError(
                f"No device of the group {terms.group!r} has reported yet, so there is nothing to roll out to."
            )
        _take(connection, terms, devices)
        members = tuple(Member(each) for each in plan.order(rollout_id, _online(connection, devices)))
        try:
            records.create(connection, Rollout(id=rollout_id, terms=terms, members=members), who)
        except IntegrityError:  # PostgreSQL has many writers
            raise MonitorError(
                f"Another rollout of {terms.model} began on a device of {terms.group!r} just now."
            ) from None
        detail = f"{terms.model} {terms.version} to the {len(devices)} devices of {terms.group}"
        audit.record(connection, who, "rollout.start", rollout_id, detail)
    return rollout_id


def pause(engine: Engine, rollout_id: str, who: str) -> None:
    """Ask nothing new until it is resumed. Raises MonitorError."""
    _change(engine, rollout_id, plan.pause, who, "rollout.pause")


def resume(engine: Engine, rollout_id: str, who: str) -> None:
    """Go on. Raises MonitorError."""
    _change(engine, rollout_id, plan.resume, who, "rollout.resume")


def abort(engine: Engine, rollout_id: str, who: str) -> None:
    """End it and bring every touched device back. Raises MonitorError."""
    _change(engine, rollout_id, lambda rollout: plan.abort(rollout, who), who, "rollout.abort")


def _change(engine: Engine, rollout_id: str, change: Callable[[Rollout], Rollout], who: str, action: str) -> None:
    for _ in range(10):  # the process that acts may write at the same moment
        with writing(engine) as connection:
            kept = records.read(connection, rollout_id)
            if records.write(connection, kept, change(kept.rollout)):
                audit.record(
                    connection, who, action, rollout_id, f"{kept.rollout.terms.model} {kept.rollout.terms.version}"
                )
                return
    raise MonitorError(f"Rollout {rollout_id} changes too fast at this moment: try again.")


def _check(terms: Terms) -> None:
    if not re.search(NAME_PATTERN, terms.model):
        raise ConfigError(f"{terms.model!r} is not a model's name: {NAME_RULE}.")
    if not terms.version.strip():
        raise ConfigError("A rollout needs a version.")
    if terms.soak_s < 0 or terms.samples < 1 or terms.at_once < 1 or not 0 <= terms.max_failed <= 1:
        raise ConfigError(
            "A rollout takes a soak of 0 s or more, 1 sample or more, 1 device or more at once, and a share "
            "of devices that may fail from 0 to 1."
        )


def _take(connection: Connection, terms: Terms, devices: list[str]) -> None:
    """Have the devices for ourselves. What an ended rollout still has to bring back, this one brings forward."""
    table = rollout_devices
    query = (
        select(table.c.rollout_id, table.c.device_id, rollouts.c.state)
        .join(rollouts, rollouts.c.id == table.c.rollout_id)
        .where(table.c.holds == terms.model)
    )
    wanted = set(devices)
    held = [row for row in connection.execute(query) if row.device_id in wanted]
    for row in held:
        if row.state in ACTIVE:
            raise MonitorError(
                f"Rollout {row.rollout_id} of {terms.model} is {row.state} on {row.device_id}: wait for its end, or "
                f"abort it with edgeward fleet abort {row.rollout_id}."
            )
    for row in held:
        key = (table.c.rollout_id == row.rollout_id, table.c.device_id == row.device_id)
        left = {"holds": None, "state": "returned", "message": "a later rollout has taken it over"}
        connection.execute(update(table).where(*key).values(left))


def _online(connection: Connection, device_ids: list[str]) -> dict[str, bool]:
    rows = connection.execute(select(schema.devices.c.id, online(time.time())))
    is_online = {device_id: bool(is_there) for device_id, is_there in rows}
    return {each: is_online[each] for each in device_ids}
