"""A signed registry, the web server that serves it, and an attacker who may answer in its place."""

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from edgeward import registry
from edgeward.registry.repository import LIFETIMES, Lifetimes, metadata_folder
from edgeward.registry.serving import mount
from edgeward_runtimes.home import Home
from edgeward_runtimes.update.pace import Limits
from tests.conftest import wait_for

PASSPHRASE = "correct horse battery staple"
HASTY = Limits(timeout_s=2, attempts=2, pause_s=0.01)


def passphrase() -> str:
    return PASSPHRASE


@dataclass
class Publisher:
    """A registry's folder and its offline keys."""

    folder: Path
    keys: Path

    @classmethod
    def make(cls, place: Path, **options: object) -> "Publisher":
        publisher = cls(place / "registry", place / "keys")
        registry.create(publisher.folder, publisher.keys, passphrase, **options)  # type: ignore[arg-type]
        return publisher

    @property
    def metadata(self) -> Path:
        return metadata_folder(self.folder)

    def add(self, *bundles: Path, lifetimes: Lifetimes = LIFETIMES, previous: int = 3) -> tuple[registry.Added, ...]:
        return registry.add(self.folder, bundles, [self.keys], passphrase, lifetimes=lifetimes, previous=previous)

    def rotate(self, role: str, **options: object) -> registry.Rotated:
        return registry.rotate(self.folder, role, [self.keys], passphrase, **options)  # type: ignore[arg-type]

    def copy(self, place: Path) -> "Publisher":
        """Everything, keys too: what a thief of all keys has, or the registry as it was at another time."""
        shutil.copytree(self.folder, place / "registry")
        shutil.copytree(self.keys, place / "keys")
        return Publisher(place / "registry", place / "keys")

    def enroll(self, home: Home, url: str | None = None) -> None:
        """Give a device the root of trust, as an enrollment does."""
        trust = home.root / "trust"
        trust.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.metadata / "1.root.json", trust / "root.json")
        if url is not None:
            (trust / "registry").write_text(url + "\n")


@dataclass
class Web:
    """The web server: what was asked of it, and what it answers instead of the truth, by a path's end."""

    port: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    answers: dict[str, Callable[[Scope], ASGIApp]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/registry"

    def replace(self, ending: str, content: bytes) -> None:
        """Answer these bytes for every path that ends so."""
        self.answers[ending] = lambda scope: Response(content)


@contextmanager
def served(folder: Path) -> Iterator[Web]:
    """Serve a registry on loopback by the routes that the monitor mounts."""
    web, honest = Web(), Starlette(routes=[mount(folder)])

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            web.asked.append((scope["path"], headers.get(b"range", b"").decode()))
            for ending, answer in list(web.answers.items()):
                if scope["path"].endswith(ending):
                    await answer(scope)(scope, receive, send)
                    return
        await honest(scope, receive, send)

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        web.port = listening.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(application, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            wait_for(lambda: server.started, "the registry's web server")
            yield web
        finally:
            server.should_exit = server.force_exit = True
            thread.join()
