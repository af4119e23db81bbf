"""Groups: names for devices, by patterns of their ids. A device that is new belongs to what it matches from then on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import msgspec
from sqlalchemy import Connection, Engine, delete, insert, select

from edgeward.monitor import schema
from edgeward.monitor.access import audit
from edgeward.monitor.database import writing
from edgeward.monitor.rollouts.tables import groups
from edgeward_runtimes.errors import ConfigError, MonitorError


@dataclass(frozen=True)
class Group:
    """A group; `devices` are the ids of those that have reported and match one of the patterns."""

    name: str
    patterns: list[str]
    devices: list[str]


def set_group(engine: Engine, name: str, patterns: Sequence[str], who: str) -> Group:
    """Make a group, or change which devices it has.

    Args:
        engine: The store.
        name: The group's.
        patterns: Of device ids, `fleet/device`, with `*`, `?` and `[…]` as in a shell; an id without them is itself.
        who: Whose doing it is, for the audit.

    Raises:
        ConfigError: When there is no name, or no pattern.
    """
    if not name.strip() or not patterns or not all(each.strip() for each in patterns):
        raise ConfigError("A group takes a name and patterns of device ids, such as factory-1/*.")
    with writing(engine) as connection:
        connection.execute(delete(groups).where(groups.c.name == name))
        connection.execute(insert(groups).values(name=name, patterns=msgspec.json.encode(list(patterns)).decode()))
        audit.record(connection, who, "group.set", name, " ".join(patterns))
        return read(connection, name)


def read(connection: Connection, name: str) -> Group:
    """A group, with its devices in the order of their ids. Raises MonitorError when there is none."""
    found = next(iter(_groups(connection, name)), None)
    if found is None:
        raise MonitorError(f"There is no group {name!r}. Make it with: edgeward fleet group set {name} 'FLEET/*'")
    return found


def all_groups(connection: Connection) -> list[Group]:
    """Every group, by name."""
    return _groups(connection)


def matches(patterns: Iterable[str], device_id: str) -> bool:
    """Whether a device is one of a group's."""
    return any(fnmatchcase(device_id, pattern) for pattern in patterns)


def _groups(connection: Connection, only: str | None = None) -> list[Group]:
    query = select(groups).order_by(groups.c.name)
    rows = connection.execute(query if only is None else query.where(groups.c.name == only)).all()
    ids = list(connection.execute(select(schema.devices.c.id).order_by(schema.devices.c.id)).scalars()) if rows else []
    return [
        Group(row.name, patterns, [each for each in ids if matches(patterns, each)])
        for row in rows
        for patterns in [msgspec.json.decode(row.patterns, type=list[str])]
    ]
