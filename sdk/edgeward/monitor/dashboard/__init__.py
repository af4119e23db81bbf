"""The live dashboard: static pages whose scripts know nothing but REST, and need nothing from the network.

static/index.html      the frame of every page; `main.js` finds the page by its path
static/pages/          one script for each page
static/*.js            what they share: elements, tables, charts, the map of health, numbers as people read them
static/vendor/         uPlot 1.6.32 (MIT), as published: it draws the charts

Texts from devices reach the document as text nodes alone, and the policy below forbids scripts of anyone else.
"""

from pathlib import Path

from fastapi import FastAPI
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_STATIC = Path(__file__).parent / "static"
_HEADERS = {
    # uPlot writes its own style attributes through the document's object model, which a policy does not mind.
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # asked for again, but not sent again unless it changed
}
PAGES = (
    "/",
    "/devices/{fleet}/{device}",
    "/models",
    "/models/{name}",
    "/rollouts",
    "/rollouts/{id}",
    "/alerts",
    "/audit",
)


def mount(app: FastAPI) -> None:
    """Add the pages to the application."""

    def page() -> Response:
        return FileResponse(_STATIC / "index.html", headers=_HEADERS)

    def login() -> Response:
        return FileResponse(_STATIC / "login.html", headers=_HEADERS)

    for path in PAGES:
        app.add_api_route(path, page, include_in_schema=False)
    app.add_api_route("/login", login, include_in_schema=False)
    app.mount("/static", _Static(directory=_STATIC))


class _Static(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        return response
