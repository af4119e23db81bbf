"""Asking devices to do something, and what they answered."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Body, HTTPException, Query, Request, Response
from sqlalchemy import Engine

from edgeward.monitor import queries, requests
from edgeward.monitor.access import audit
from edgeward.monitor.access.callers import caller_of
from edgeward.monitor.api.paging import Limit, Offset
from edgeward.monitor.api.problems import responses
from edgeward.monitor.database import writing


@dataclass(frozen=True)
class Asked:
    """The id under which the answer can be asked for."""

    id: str


def router(engine: Engine) -> APIRouter:
    """Their routes."""
    routes = APIRouter(prefix="/api/requests", tags=["requests"])

    @routes.get("", summary="Requests, the latest first")
    def every(
        device_id: Annotated[str | None, Query(description="Only those to this device")] = None,
        limit: Limit = 100,
        offset: Offset = 0,
    ) -> list[requests.Result]:
        return requests.results(engine, device_id=device_id, limit=limit, offset=offset)

    @routes.post("", summary="Ask a device to do something", status_code=202, responses=responses(404))
    def ask(
        request: Request,
        device_id: Annotated[str, Body()],
        command: Annotated[str, Body(min_length=1, max_length=64)],
        arguments: Annotated[dict[str, Any] | None, Body()] = None,
    ) -> Asked:
        if queries.device(engine, device_id) is None:
            raise HTTPException(
                404, f"No device {device_id!r} has reported yet; GET /api/devices lists those that have."
            )
        who = caller_of(request).name
        with writing(engine) as connection:
            identity = requests.ask_in(connection, device_id, command, arguments or {}, who)
            audit.record(connection, who, f"request.{command}", device_id, identity)
        return Asked(identity)

    @routes.get("/{identity}", summary="One request, and its answer if there is one", responses=responses(404))
    def one(identity: str) -> requests.Result:
        found = requests.result(engine, identity)
        if found is None:
            raise _unknown(identity)
        return found

    @routes.get("/{identity}/content", summary="The bytes that a device answered with", responses=responses(404))
    def content(identity: str) -> Response:
        found = requests.content(engine, identity)
        if found is None:
            raise HTTPException(404, f"There is no content of a request {identity!r}, or not all of it has come yet.")
        return Response(found, media_type="application/octet-stream")

    @routes.delete("/{identity}", summary="Ask no longer", status_code=204, responses=responses(404))
    def cancel(request: Request, identity: str) -> None:
        found = requests.result(engine, identity)
        if found is None:
            raise _unknown(identity)
        with writing(engine) as connection:
            requests.cancel_in(connection, identity)
            audit.record(connection, caller_of(request).name, "request.cancel", found.device_id, identity)

    return routes


def _unknown(identity: str) -> HTTPException:
    return HTTPException(404, f"There is no request {identity!r}; GET /api/requests lists them.")
