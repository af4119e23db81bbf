"""The application. It answers whoever asks: in front of it stands `access.guard`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from fastapi import FastAPI, Request, Response
from sqlalchemy import Engine
from starlette.middleware.gzip import GZipMiddleware

from edgeward.monitor import prometheus
from edgeward.monitor.api import access, alerts, devices, fleet, models, problems, requests
from edgeward.monitor.config import MonitorConfig
from edgeward.monitor.rollouts import routes as rollouts
from edgeward_runtimes.commands import edgeward_version

_DESCRIPTION = """The fleet, for scripts. Send a token as `Authorization: Bearer TOKEN`, once one was made with
`edgeward fleet token create`. Times are Unix seconds. Errors are RFC 9457 problems; their `detail` says what to do.
Long answers come in pages of `limit`; `X-Total-Count` says how many there are, and `Link` where the next page is."""


@dataclass(frozen=True)
class Health:
    """Whether the monitor does its work, and which of its parts do."""

    status: Literal["ok", "failing"]
    parts: dict[str, bool]


def make_app(engine: Engine, checks: Mapping[str, Callable[[], bool]], config: MonitorConfig | None = None) -> FastAPI:
    """The application over a store; `checks` say by name whether the monitor's other parts work."""
    config = config or MonitorConfig()
    # FastAPI's own pages of documentation load scripts from elsewhere, so there are none.
    app = FastAPI(
        title="edgeward monitor",
        version=edgeward_version(),
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        responses=problems.responses(401, 403, 422),
    )
    app.add_middleware(GZipMiddleware, minimum_size=2000, compresslevel=4)
    problems.handle(app)
    for part in (fleet, devices, models, alerts, requests, rollouts, access):
        app.include_router(part.router(engine))

    @app.get("/healthz", summary="Whether every part of the monitor works", responses={503: {"model": Health}})
    def healthz(response: Response) -> Health:
        parts = {name: works() for name, works in checks.items()}
        response.status_code = 200 if all(parts.values()) else 503
        return Health("ok" if all(parts.values()) else "failing", parts)

    @app.get("/metrics", summary="Prometheus", response_class=Response)
    def metrics(request: Request) -> Response:
        content, media_type = prometheus.exposition(
            engine, request.headers.get("accept", ""), devices_up_to=config.http.metrics_devices
        )
        return Response(content, media_type=media_type)

    return app
