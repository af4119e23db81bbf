"""What every request has to pass before it reaches the application.

1. Whoever presents a token is who the token says, or is refused; an address that is wrong too often has to wait.
2. Without one, everything is open on loopback until the first token is made: one person's machine. Then the Host that
   is asked for must be this machine's, or a web page elsewhere could reach us by a name that it points here.
3. What changes something must not be sent by a page of another origin.
4. The role must allow it: reading is a viewer's, changing an operator's, tokens an admin's.

A browser presents its token as a cookie, which scripts cannot read and other sites do not send (SameSite=Strict).
"""

import asyncio
import socket
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote, urlsplit

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from edgeward.monitor.access import tokens
from edgeward.monitor.access.callers import LOCAL, SCOPE_KEY, Caller, Role, cookie_name
from edgeward.monitor.access.exposure import as_address, is_loopback
from edgeward.monitor.access.failures import Failures
from edgeward.monitor.api.problems import problem, store_failed
from edgeward.monitor.config import HttpConfig

_PUBLIC = ("/healthz", "/login", "/static/", "/registry/")  # what a registry serves is signed, and no secret
_READS = ("GET", "HEAD", "OPTIONS")


class Guard:
    """An ASGI application in front of the monitor's."""

    def __init__(
        self, app: ASGIApp, engine: Engine, http: HttpConfig, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._engine = engine
        self._http = http
        self._clock = clock
        self._failures = Failures()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it."""
        if scope["type"] != "http":
            await (self._app(scope, receive, send) if scope["type"] == "lifespan" else _close(send))
            return
        try:
            answer = await asyncio.to_thread(self._judge, scope)
        except SQLAlchemyError as error:
            answer = store_failed(error)
        await (answer or self._app)(scope, receive, send)

    def _judge(self, scope: Scope) -> Response | None:
        """An answer that refuses, or None; then the scope says who calls."""
        headers, method, path = Headers(scope=scope), scope["method"], scope["path"]
        if method not in _READS and not _is_same_origin(headers):
            return problem(403, "A page of another origin sent this, so it was not done.")
        if path.startswith(_PUBLIC):
            return None
        caller = self._caller(scope, headers)
        if isinstance(caller, Response):
            return caller
        needed = _needed(method, path)
        if not caller.may(needed):
            return problem(403, f"{caller.name} is a {caller.role}; this needs the role {needed}.")
        scope[SCOPE_KEY] = caller
        return None

    def _caller(self, scope: Scope, headers: Headers) -> Caller | Response:
        presented = _presented(headers, cookie_name(self._http.certificate is not None))
        if presented is None and self._is_open(headers.get("host", "")):
            return LOCAL
        if waits := self._waits(scope):
            return waits
        if presented is None:
            return _ask_for_token(scope, headers, "This needs a token: Authorization: Bearer TOKEN.")
        known = tokens.recognize(self._engine, presented)
        if known is None:
            self._failures.record(_address(scope), self._clock())
            return _ask_for_token(scope, headers, "This token is unknown, expired or revoked.")
        return known

    def _waits(self, scope: Scope) -> Response | None:
        wait_s = self._failures.wait_s(_address(scope), self._clock())
        if wait_s <= 0:
            return None
        answer = problem(429, f"Too many wrong tokens from {_address(scope)}: try again in {wait_s:.0f} s.")
        answer.headers["retry-after"] = str(int(wait_s) + 1)
        return answer

    def _is_open(self, host: str) -> bool:
        """Whether somebody without a token may come in as if at this machine's own keyboard."""
        if not _is_this_machine(host, self._http) or tokens.any_made(self._engine):
            return False
        return is_loopback(self._http.host) or self._http.insecure


def _is_this_machine(host: str, http: HttpConfig) -> bool:
    """Whether no foreign page can be behind this Host: an address, or a name that only this machine has."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if is_loopback(name):
        return True
    return not is_loopback(http.host) and (as_address(name) is not None or name == socket.gethostname().lower())


def _is_same_origin(headers: Headers) -> bool:
    """Whether the sender is no browser, or a page of ours."""
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site", "none") in ("none", "same-origin")
    return urlsplit(origin).netloc == headers.get("host", "")


def _presented(headers: Headers, cookie: str) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme:
        return token.strip() if scheme.lower() == "bearer" else ""
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(cookie)
    except CookieError:
        return None
    return morsel.value if morsel else None


def _needed(method: str, path: str) -> Role:
    if path.startswith("/api/tokens"):
        return "admin"
    if path == "/api/session":  # signing in and out
        return "viewer"
    return "viewer" if method in _READS else "operator"


def _ask_for_token(scope: Scope, headers: Headers, detail: str) -> Response:
    """A person is shown where to sign in; a program is told."""
    if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
        return RedirectResponse(f"/login?next={quote(scope['path'])}", status_code=303)
    answer = problem(401, detail)
    answer.headers["www-authenticate"] = "Bearer"
    return answer


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else "unknown"


async def _close(send: Send) -> None:
    """We speak no WebSocket."""
    await send({"type": "websocket.close", "code": 1008})
