"""Devices: a page of them, one, its series, its log."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response
from sqlalchemy import Engine

from edgeward.monitor import history, queries
from edgeward.monitor.api.paging import MOST, Before, Limit, Offset, tell
from edgeward.monitor.api.problems import responses
from edgeward.monitor.api.windows import WindowQuery
from edgeward.monitor.history import LatencyPoint, ReadingsPoint
from edgeward.monitor.queries import Condition, Device, Sort, Wanted
from edgeward.monitor.queries.shapes import Bin, LogLine, ReleaseTotals


def router(engine: Engine) -> APIRouter:
    """Their routes."""
    routes = APIRouter(prefix="/api/devices", tags=["devices"])

    @routes.get("", summary="Devices, a page of them")
    def devices(
        request: Request,
        response: Response,
        q: Annotated[
            str,
            Query(max_length=200, description="Words, each in the id, target, condition, model, release or variant"),
        ] = "",
        online: Annotated[bool | None, Query(description="Only those online, or only those offline")] = None,
        condition: Annotated[Condition | None, Query(description="Only those in this condition")] = None,
        target: Annotated[str | None, Query(description="Only those of this target")] = None,
        model: Annotated[str | None, Query(description="Only those that have this model, or had it")] = None,
        sort: Annotated[Sort, Query(description="Largest, latest or worst first; id is ascending")] = "id",
        limit: Limit = MOST,
        offset: Offset = 0,
    ) -> list[Device]:
        wanted = Wanted(q, online, condition, target, model, sort, limit, offset)
        tell(request, response, queries.count(engine, wanted), limit, offset)
        return queries.devices(engine, wanted)

    @routes.get("/{fleet}/{device}", summary="One device, by its id `fleet/device`", responses=responses(404))
    def device(fleet: str, device: str) -> Device:
        found = queries.device(engine, f"{fleet}/{device}")
        if found is None:
            raise _unknown(f"{fleet}/{device}")
        return found

    @routes.get("/{fleet}/{device}/latency", summary="A model's latency and counts on a device over time")
    def latency(fleet: str, device: str, model: str, window: WindowQuery) -> list[LatencyPoint]:
        return history.latency_series(engine, model, device=f"{fleet}/{device}", **asdict(window))

    @routes.get("/{fleet}/{device}/health", summary="A device's health over time, by name: the mean and the largest")
    def health(fleet: str, device: str, window: WindowQuery) -> list[ReadingsPoint]:
        return history.health_series(engine, device=f"{fleet}/{device}", **asdict(window))

    @routes.get("/{fleet}/{device}/drift", summary="What a model's data looked like on a device over time")
    def drift(fleet: str, device: str, model: str, window: WindowQuery) -> list[ReadingsPoint]:
        return history.observed_series(engine, model, device=f"{fleet}/{device}", **asdict(window))

    @routes.get("/{fleet}/{device}/histogram", summary="All latencies of a model on a device")
    def histogram(fleet: str, device: str, model: str) -> list[Bin]:
        return queries.model_bins(engine, model, f"{fleet}/{device}")

    @routes.get("/{fleet}/{device}/releases", summary="What each release of a model counted on a device")
    def releases(fleet: str, device: str, model: str) -> list[ReleaseTotals]:
        return queries.device_releases(engine, f"{fleet}/{device}", model)

    @routes.get("/{fleet}/{device}/logs", summary="What the device's agent forwarded of its log, the latest first")
    def logs(fleet: str, device: str, before: Before = None, limit: Limit = 100) -> list[LogLine]:
        return queries.logs(engine, device_id=f"{fleet}/{device}", before=before, limit=limit)

    @routes.get("/{device_id:path}", include_in_schema=False)
    def unknown(device_id: str) -> None:
        raise _unknown(device_id)

    return routes


def _unknown(device_id: str) -> HTTPException:
    return HTTPException(404, f"No device {device_id!r} has reported yet; GET /api/devices lists those that have.")
