"""Every error of REST has one shape: RFC 9457's, whose `detail` is a sentence that says what to do."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from edgeward_runtimes.errors import EdgewardError

_log = logging.getLogger("edgeward.monitor")


@dataclass(frozen=True)
class Problem:
    """What went wrong, as RFC 9457 writes it."""

    type: str
    title: str
    status: int
    detail: str


def problem(status: int, detail: str) -> Response:
    """An answer that says what went wrong."""
    content = asdict(Problem("about:blank", HTTPStatus(status).phrase, status, detail))
    return JSONResponse(content, status, media_type="application/problem+json")


def store_failed(error: SQLAlchemyError) -> Response:
    """The answer when the database is away, full or locked; why is in our log."""
    _log.error("the store failed: %s", error)
    return problem(503, "The monitor's store does not answer at this moment: try again.")


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI shall say of a route's errors."""
    return {status: {"model": Problem, "description": HTTPStatus(status).phrase} for status in statuses}


def handle(app: FastAPI) -> None:
    """Answer every error of the application in that shape."""

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        return problem(error.status_code, error.detail)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return problem(422, _sentence(error.errors()))

    @app.exception_handler(EdgewardError)
    async def refused(request: Request, error: EdgewardError) -> Response:
        return problem(400, str(error))

    @app.exception_handler(SQLAlchemyError)
    async def store(request: Request, error: SQLAlchemyError) -> Response:
        return store_failed(error)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        return problem(500, "The monitor failed; its log says why.")


def _sentence(errors: Sequence[Any]) -> str:
    """What is wrong with which parameter, of all that are."""
    said = [f"{'.'.join(map(str, each['loc'][1:])) or each['loc'][0]}: {each['msg']}" for each in errors]
    return f"{'; '.join(said)}. See /openapi.json for what this takes."
