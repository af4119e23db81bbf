"""What devices' agents forwarded of their logs, and what the monitor could not read."""

from sqlalchemy import Engine, select

from edgeward.monitor import schema
from edgeward.monitor.queries.shapes import LogLine


def logs(
    engine: Engine,
    *,
    device_id: str | None = None,
    level: str | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[LogLine]:
    """The latest lines first; `before` continues after the last id of an earlier answer."""
    columns = schema.logs.c
    query = select(schema.logs).order_by(columns.id.desc()).limit(limit)
    if device_id is not None:
        query = query.where(columns.device_id == device_id)
    if level is not None:
        query = query.where(columns.level == level)
    if before is not None:
        query = query.where(columns.id < before)
    with engine.connect() as connection:
        return [LogLine(*row) for row in connection.execute(query)]


def dropped(engine: Engine) -> int:
    """Messages that were not understood."""
    table = schema.ingest
    with engine.connect() as connection:
        return connection.execute(select(table.c["count"]).where(table.c.name == "dropped")).scalar() or 0
