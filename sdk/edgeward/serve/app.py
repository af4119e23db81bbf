"""Which path does what. An error is `{"error": "…"}` in either protocol, and never a traceback.

400 the request · 404 no such model, version or path · 413 too large · 415 packed in a way not known · 500 the engine
"""

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from msgspec import Struct
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from edgeward.serve import protocol_v2, tensorflow_serving
from edgeward.serve.batching import Batcher, samples_in
from edgeward.serve.body import EarlyResponse, TooLargeError, read_body
from edgeward.serve.json_tensors import render
from edgeward.serve.metrics import Metrics, Protocol
from edgeward.serve.served import Served
from edgeward_runtimes.commands import edgeward_version
from edgeward_runtimes.errors import EdgewardError, InputError

_PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_PATHS = "Nothing is served here. There are /v2/models/NAME/infer, /v1/models/NAME:predict, /metrics and /healthz."
_log = logging.getLogger("edgeward.serve")

Answer = tuple[Response, int]
Endpoint = Callable[[Request], Awaitable[Response]]


class Limits(Struct, frozen=True):
    """How much at once. `max_batch_size` is in samples."""

    max_batch_size: int = 32
    max_delay_ms: float = 2.0
    max_request_bytes: int = 64 << 20


def make_app(served: Served, limits: Limits) -> Starlette:
    """The application that serves a model."""
    batcher = Batcher(served.model, max_samples=limits.max_batch_size, max_delay_s=limits.max_delay_ms / 1e3)
    endpoints = _Endpoints(served, batcher, limits)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with batcher.running():
            yield

    return Starlette(
        routes=endpoints.routes(),
        lifespan=lifespan,
        exception_handlers={HTTPException: _refuse, Exception: _fail},
    )


class _Endpoints:
    """Every path, over one model."""

    def __init__(self, served: Served, batcher: Batcher, limits: Limits) -> None:
        self._served = served
        self._batcher = batcher
        self._limits = limits
        self._metrics = Metrics(served)

    def routes(self) -> list[Route]:
        """The paths; each about a model is there with a version and without."""
        routes = [
            Route("/healthz", self._health),
            Route("/metrics", self._metrics_page),
            Route("/v2", self._v2_server),
            Route("/v2/health/live", self._v2_live),
            Route("/v2/health/ready", self._v2_ready),
        ]
        for model in ("/models/{name}", "/models/{name}/versions/{version}"):
            infer = self._counted("v2", self._v2_infer)
            predict = self._counted("tensorflow", self._tensorflow_predict)
            routes += [
                Route(f"/v2{model}/infer", infer, methods=["POST"]),
                Route(f"/v2{model}/ready", self._v2_model_ready),
                Route(f"/v2{model}", self._v2_model),
                Route(f"/v1{model}:predict", predict, methods=["POST"]),
                Route(f"/v1{model}/metadata", self._tensorflow_metadata),
                Route(f"/v1{model}", self._tensorflow_status),
            ]
        return routes

    async def _health(self, _request: Request) -> Response:
        return _json({"status": "ok" if self._is_ready else "stopped"}, 200 if self._is_ready else 503)

    async def _metrics_page(self, _request: Request) -> Response:
        return Response(self._metrics.exposition(), media_type=_PROMETHEUS_TEXT)

    async def _v2_server(self, _request: Request) -> Response:
        return _json(protocol_v2.server_metadata(edgeward_version()))

    async def _v2_live(self, _request: Request) -> Response:
        return _json({"live": True})

    async def _v2_ready(self, _request: Request) -> Response:
        return _json({"ready": self._is_ready}, 200 if self._is_ready else 503)

    async def _v2_model_ready(self, request: Request) -> Response:
        self._check_model(request)
        return _json({"name": self._served.name, "ready": self._is_ready}, 200 if self._is_ready else 503)

    async def _v2_model(self, request: Request) -> Response:
        self._check_model(request)
        served, model = self._served, self._served.model
        platform = f"edgeward_{model.variant.engine}"
        return _json(protocol_v2.model_metadata(served.name, served.version, platform, model.inputs, model.outputs))

    async def _v2_infer(self, request: Request) -> Answer:
        self._check_model(request)
        served, model = self._served, self._served.model
        body = await read_body(request, self._limits.max_request_bytes)
        header_length = request.headers.get(protocol_v2.HEADER_LENGTH)
        asked = protocol_v2.decode(body, header_length, model.inputs, model.outputs)
        outputs = await self._batcher.predict(asked.inputs)
        content, json_length = protocol_v2.encode(asked, served.name, served.version, outputs)
        if json_length is None:
            return Response(content, media_type="application/json"), samples_in(asked.inputs)
        headers = {protocol_v2.HEADER_LENGTH: str(json_length)}
        return Response(content, 200, headers, "application/octet-stream"), samples_in(asked.inputs)

    async def _tensorflow_status(self, request: Request) -> Response:
        self._check_model(request)
        return _json(tensorflow_serving.status(self._served.version))

    async def _tensorflow_metadata(self, request: Request) -> Response:
        self._check_model(request)
        served, model = self._served, self._served.model
        return _json(tensorflow_serving.metadata(served.name, served.version, model.inputs, model.outputs))

    async def _tensorflow_predict(self, request: Request) -> Answer:
        self._check_model(request)
        body = await read_body(request, self._limits.max_request_bytes)
        asked = tensorflow_serving.decode(body, self._served.model.inputs)
        outputs = await self._batcher.predict(asked.inputs)
        content = tensorflow_serving.encode(asked, outputs)
        return Response(content, media_type="application/json"), samples_in(asked.inputs)

    @property
    def _is_ready(self) -> bool:
        return self._batcher.is_running

    def _check_model(self, request: Request) -> None:
        """Refuse with 404 what is not the model that is served, or not the version that answers."""
        name, version = request.path_params["name"], request.path_params.get("version")
        if name != self._served.name:
            raise HTTPException(404, f"No model {name!r} is served here; this server has {self._served.name!r}.")
        if not self._served.is_version(version):
            raise HTTPException(404, f"{name} has no version {version!r} here; it is {self._served.version!r}.")

    def _counted(self, protocol: Protocol, predict: Callable[[Request], Awaitable[Answer]]) -> Endpoint:
        """Count each request by its outcome; an error becomes its answer here."""

        async def endpoint(request: Request) -> Response:
            try:
                response, samples = await predict(request)
            except HTTPException as error:
                response = await _refuse(request, error)
            except EdgewardError as error:
                response = _error(400 if isinstance(error, InputError) else 500, str(error))
            except ClientDisconnect:
                response = _error(400, "The request ended before its body did.")
            except Exception as error:
                _log.exception("%s failed", request.url.path)
                response = await _fail(request, error)
            else:
                self._metrics.answered(protocol, samples)
                return response
            self._metrics.turned_down(protocol, response.status_code)
            return response

        return endpoint


def _json(document: object, status: int = 200) -> Response:
    return Response(render(document), status, media_type="application/json")


def _error(status: int, message: str) -> Response:
    return _json({"error": message}, status)


async def _refuse(request: Request, error: Exception) -> Response:
    """An HTTPException, ours or of the routing, as JSON."""
    if not isinstance(error, HTTPException):
        return await _fail(request, error)
    unknown_path = error.detail == "Not Found"  # the routing's own words: ours say what was not found
    content = render({"error": _PATHS if unknown_path else error.detail})
    answer = EarlyResponse if isinstance(error, TooLargeError) else Response
    return answer(content, error.status_code, error.headers, "application/json")


async def _fail(_request: Request, _raised: Exception) -> Response:
    return _error(500, "The server failed; its log says why.")
