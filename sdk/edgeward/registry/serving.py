"""The registry over HTTP: its public folder, as any static server would serve it, with byte ranges."""

from pathlib import Path

from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from edgeward.registry.repository import public_folder

_FOREVER = "public, max-age=31536000, immutable"  # every file but timestamp.json has a name that is used once


class _Published(StaticFiles):
    """The folder; caches between may keep everything but the timestamp."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """One file."""
        response = await super().get_response(path, scope)
        if response.status_code in (200, 206):
            response.headers["Cache-Control"] = "no-cache" if path.endswith("timestamp.json") else _FOREVER
        return response


def mount(folder: Path, path: str = "/registry") -> Mount:
    """A route that serves the registry at `path`: `app.mount` of FastAPI takes its `.app`, a Starlette its whole."""
    return Mount(path, app=_Published(directory=public_folder(folder)), name="registry")
