"""Alerts, and silences of them."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response
from sqlalchemy import Engine

from edgeward.monitor.access import audit
from edgeward.monitor.access.callers import caller_of
from edgeward.monitor.alerts import queries, silences
from edgeward.monitor.alerts.queries import Alert, Notification, Silence, State
from edgeward.monitor.api.paging import Limit, Offset
from edgeward.monitor.database import writing


@dataclass(frozen=True)
class Silenced:
    """The id by which a silence can be ended."""

    id: str


def router(engine: Engine) -> APIRouter:
    """Their routes."""
    routes = APIRouter(prefix="/api", tags=["alerts"])

    @routes.get("/alerts", summary="Alerts: those that fire, then pending ones, then what is resolved")
    def alerts(
        response: Response,
        state: Annotated[State | None, Query(description="Only those in this state")] = None,
        device_id: Annotated[str | None, Query(description="Only those about this device")] = None,
        limit: Limit = 100,
        offset: Offset = 0,
    ) -> list[Alert]:
        if state == "firing" and device_id is None:
            response.headers["X-Total-Count"] = str(sum(queries.counts(engine).values()))
        return queries.alerts(engine, state=state, device_id=device_id, limit=limit, offset=offset)

    @routes.get("/notifications", summary="Word of alerts to people, delivered or not, the latest first")
    def notifications(limit: Limit = 100) -> list[Notification]:
        return queries.notifications(engine, limit)

    @routes.get("/silences", summary="The silences that hold")
    def holding() -> list[Silence]:
        return queries.silences(engine)

    @routes.post("/silences", summary="Tell nobody of alerts that match, for a while", status_code=201)
    def silence(
        request: Request,
        match: Annotated[str, Body(description="A glob over fleet, fleet/device or fleet/device/model")],
        for_s: Annotated[float, Body(gt=0, description="How long, in seconds")],
        reason: Annotated[str, Body(max_length=500)] = "",
        rule: Annotated[str, Body(description="A glob over rules' names")] = "*",
    ) -> Silenced:
        who = caller_of(request).name
        identity = silences.silence(engine, match, for_s=for_s, reason=reason, created_by=who, rule=rule)
        with writing(engine) as connection:
            audit.record(connection, who, "silence.create", match, f"rule {rule}, for {for_s:.0f} s: {reason}")
        return Silenced(identity)

    @routes.delete("/silences/{identity}", summary="End a silence", status_code=204)
    def end(request: Request, identity: str) -> None:
        silences.end(engine, identity)
        with writing(engine) as connection:
            audit.record(connection, caller_of(request).name, "silence.end", identity)

    return routes
