"""Silences: made and ended; `queries` reads them, `rounds` minds them."""

import time
import uuid

from sqlalchemy import Engine, insert, update

from edgeward.monitor.alerts.tables import silences
from edgeward_runtimes.errors import ConfigError

_LONGEST_S = 366 * 86_400.0


def silence(engine: Engine, match: str, *, for_s: float, reason: str, created_by: str, rule: str = "*") -> str:
    """Tell nobody of alerts that match, for so many seconds; gives the silence's id.

    An alert that still fires when the silence ends is told then. One that was told before is told when it is resolved,
    silence or not.

    Args:
        engine: The store.
        match: A glob over `fleet`, `fleet/device` or `fleet/device/model`; a device's name covers its models.
        for_s: How long, from now.
        reason: Why; shown beside the alerts.
        created_by: Who.
        rule: A glob over rules' names.

    Raises:
        ConfigError: When the match is empty, or it would last not at all or over a year.
    """
    if not match.strip():
        raise ConfigError("A silence needs a match, such as 'factory-1/press-7' or 'factory-1/*'.")
    if not 0 < for_s <= _LONGEST_S:
        raise ConfigError(f"A silence of {for_s:g} s is not possible: it lasts a moment at least and a year at most.")
    now = time.time()
    row = {"id": uuid.uuid4().hex[:12], "match": match, "rule": rule, "reason": reason, "created_by": created_by}
    with engine.begin() as connection:
        connection.execute(insert(silences).values(**row, created_at=now, until=now + for_s))
    return row["id"]


def end(engine: Engine, identifier: str) -> None:
    """End a silence now. Raises ConfigError when there is none with this id, or it has ended."""
    now = time.time()
    with engine.begin() as connection:
        where = (silences.c.id == identifier, silences.c.until > now)
        if connection.execute(update(silences).where(*where).values(until=now)).rowcount == 0:
            raise ConfigError(f"No silence {identifier!r} holds now; `edgeward fleet silences` lists those that do.")
