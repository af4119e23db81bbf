"""REST: what the dashboard shows, for scripts. FastAPI's own `/docs` and `/openapi.json` describe it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import FastAPI, HTTPException, Query, Response
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy import Engine

from edgeward.monitor import prometheus, queries
from edgeward_runtimes.commands import edgeward_version


@dataclass(frozen=True)
class Health:
    """Whether the monitor does its work, and which of its parts do."""

    status: Literal["ok", "failing"]
    parts: dict[str, bool]


def make_app(engine: Engine, checks: Mapping[str, Callable[[], bool]]) -> FastAPI:
    """The application over a store; `checks` say by name whether the monitor's other parts work."""
    app = FastAPI(title="edgeward monitor", version=edgeward_version())

    @app.get("/healthz", summary="Whether every part of the monitor works", responses={503: {"model": Health}})
    def healthz(response: Response) -> Health:
        parts = {name: works() for name, works in checks.items()}
        response.status_code = 200 if all(parts.values()) else 503
        return Health("ok" if all(parts.values()) else "failing", parts)

    @app.get("/api/devices", summary="Every device")
    def devices(
        online: Annotated[bool | None, Query(description="Only those online, or only those offline")] = None,
    ) -> list[queries.Device]:
        return [each for each in queries.devices(engine) if online is None or each.online == online]

    @app.get("/api/devices/{device_id:path}", summary="One device, by its id `fleet/device`")
    def device(device_id: str) -> queries.Device:
        found = queries.device(engine, device_id)
        if found is None:
            raise HTTPException(
                404, f"No device {device_id!r} has reported yet; GET /api/devices lists those that have."
            )
        return found

    @app.get("/api/models/{name}", summary="One model over the whole fleet")
    def model(name: str) -> queries.FleetModel:
        found = queries.fleet_model(engine, name)
        if found is None:
            raise HTTPException(404, f"No device has reported a model {name!r} yet.")
        return found

    @app.get("/metrics", summary="Prometheus", response_class=Response)
    def metrics() -> Response:
        return Response(prometheus.exposition(engine), media_type=CONTENT_TYPE_LATEST)

    return app
