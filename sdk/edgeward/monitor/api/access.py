"""Who is signed in, tokens, and the audit."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Body, HTTPException, Query, Request, Response
from sqlalchemy import Engine

from edgeward.monitor.access import audit, tokens
from edgeward.monitor.access.audit import Deed
from edgeward.monitor.access.callers import LOCAL, Role, caller_of, cookie_name
from edgeward.monitor.access.tokens import Token
from edgeward.monitor.api.paging import Before, Limit
from edgeward.monitor.api.problems import responses

_DAY_S = 86_400.0


@dataclass(frozen=True)
class Session:
    """Who calls. `signed_in` is false at a monitor that is open to its own machine."""

    name: str
    role: Role
    signed_in: bool


@dataclass(frozen=True)
class MadeToken:
    """A new token: it cannot be shown again."""

    name: str
    role: Role
    token: str


def router(engine: Engine) -> APIRouter:
    """Their routes."""
    routes = APIRouter(prefix="/api", tags=["access"])

    @routes.get("/session", summary="Who calls")
    def session(request: Request) -> Session:
        caller = caller_of(request)
        return Session(caller.name, caller.role, caller != LOCAL)

    @routes.post("/session", summary="Sign a browser in: the bearer's token becomes a cookie", status_code=204)
    def sign_in(request: Request, response: Response) -> None:
        _, _, token = request.headers.get("authorization", "").partition(" ")
        secure = request.url.scheme == "https"
        response.set_cookie(cookie_name(secure), token.strip(), secure=secure, httponly=True, samesite="strict")

    @routes.delete("/session", summary="Sign a browser out", status_code=204)
    def sign_out(request: Request, response: Response) -> None:
        secure = request.url.scheme == "https"
        response.delete_cookie(cookie_name(secure), secure=secure, httponly=True, samesite="strict")

    @routes.get("/audit", summary="Who did what, the latest first")
    def deeds(
        before: Before = None,
        subject: Annotated[str | None, Query(description="Only what was done to this")] = None,
        limit: Limit = 100,
    ) -> list[Deed]:
        return audit.deeds(engine, before=before, subject=subject, limit=limit)

    @routes.get("/tokens", summary="Every token ever made, without what is secret")
    def every() -> list[Token]:
        return tokens.every(engine)

    @routes.post("/tokens", summary="Make a token", status_code=201)
    def create(
        request: Request,
        name: Annotated[str, Body()],
        role: Annotated[Role, Body()],
        days: Annotated[float | None, Body(gt=0, le=36_500, description="Until it expires; null: never")] = None,
    ) -> MadeToken:
        lifetime_s = None if days is None else days * _DAY_S
        return MadeToken(name, role, tokens.create(engine, name, role, caller_of(request).name, lifetime_s))

    @routes.delete("/tokens/{name}", summary="Revoke a token", status_code=204, responses=responses(404))
    def revoke(request: Request, name: str) -> None:
        if not tokens.revoke(engine, name, caller_of(request).name):
            raise HTTPException(404, f"There is no token {name!r} that still was of use; GET /api/tokens lists all.")

    return routes
