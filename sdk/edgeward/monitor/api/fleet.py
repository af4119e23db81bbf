"""The fleet at a glance, and what its devices' agents logged."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import Engine

from edgeward.monitor import queries
from edgeward.monitor.api.paging import Before, Limit
from edgeward.monitor.api.remembered import Remembered
from edgeward.monitor.queries.shapes import LogLine, Overview


def router(engine: Engine) -> APIRouter:
    """Its routes."""
    routes = APIRouter(prefix="/api", tags=["fleet"])
    overviews: Remembered[Overview] = Remembered(for_s=0.5)

    @routes.get("/overview", summary="The fleet at a glance")
    def overview() -> Overview:
        return overviews.get("fleet", lambda: queries.overview(engine))

    @routes.get("/logs", summary="Log lines of all devices, the latest first")
    def logs(
        level: Annotated[str | None, Query(description="Only those of this level, such as ERROR")] = None,
        before: Before = None,
        limit: Limit = 100,
    ) -> list[LogLine]:
        return queries.logs(engine, level=level, before=before, limit=limit)

    return routes
