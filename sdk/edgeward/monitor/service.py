"""The monitor as one program: broker, workers and web server, started in that order and stopped in the other."""

import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import uvicorn
from sqlalchemy import Engine
from starlette.routing import Mount
from starlette.types import ASGIApp

from edgeward.listening import listening
from edgeward.monitor import broker, dashboard, database
from edgeward.monitor.access import exposure, tokens
from edgeward.monitor.access.guard import Guard
from edgeward.monitor.alerts import rules as alert_rules
from edgeward.monitor.api import make_app
from edgeward.monitor.config import BrokerConfig, HttpConfig, MonitorConfig
from edgeward.monitor.supervisor import Supervised

_PARTS = ("ingest", "upkeep", "alerts", "rollouts")


def run(config: MonitorConfig) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        ConfigError: When the web server cannot listen where it should, or must not.
        MonitorError: When the broker cannot, or the store cannot be opened. Nothing is left running.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    http = listening(config.http.host, config.http.port, "Set another [http] port in monitor.toml.")
    with contextlib.ExitStack() as running:
        web = running.enter_context(http)
        engine = database.open_engine(config.store.url)
        alert_rules.read(None if config.alerts.file is None else Path(config.alerts.file))  # wrong rules: one sentence
        exposure.check(config.http, tokens.any_valid(engine))
        checks = {"broker": running.enter_context(_broker(config.broker)), **_parts(running, config)}
        print(f"dashboard: {_url(config.http)}", file=sys.stderr, flush=True)
        _serve(_server(_application(engine, checks, config), config.http), web)


def _parts(running: contextlib.ExitStack, config: MonitorConfig) -> dict[str, Callable[[], bool]]:
    """Start the processes that work beside the web server; gives for each whether it works."""
    argument = msgspec.json.encode(config).decode()
    started = {name: running.enter_context(Supervised(f"edgeward.monitor.{name}", argument)) for name in _PARTS}
    return {name: lambda part=part: part.is_alive for name, part in started.items()}  # type: ignore[misc]


def _application(engine: Engine, checks: dict[str, Callable[[], bool]], config: MonitorConfig) -> ASGIApp:
    app = make_app(engine, checks, config)
    dashboard.mount(app)
    if config.registry.folder is not None:
        app.routes.append(_registry(Path(config.registry.folder)))
    return Guard(app, engine, config.http)


def _registry(folder: Path) -> Mount:
    from edgeward.registry import repository, serving

    repository.latest_root(folder)  # raises, and says what to do, where there is no registry
    return serving.mount(folder)


def _url(http: HttpConfig) -> str:
    host = f"[{http.host}]" if ":" in http.host else http.host
    return f"{'https' if http.certificate else 'http'}://{host}:{http.port}"


def _server(app: ASGIApp, http: HttpConfig) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        log_level="warning",
        timeout_graceful_shutdown=1,
        ssl_certfile=http.certificate,
        ssl_keyfile=http.key,
        proxy_headers=False,  # who calls is whom the connection is from
        server_header=False,
    )
    return uvicorn.Server(config)


def _serve(server: uvicorn.Server, web: socket.socket) -> None:
    """Serve until told to stop; our children end after it, so no signal may end us before them."""

    def stop(number: int, frame: object) -> None:
        server.should_exit = True  # before uvicorn's own handlers are there; afterwards uvicorn raises it once more

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server.run(sockets=[web])


@contextlib.contextmanager
def _broker(config: BrokerConfig) -> Iterator[Callable[[], bool]]:
    """Have a broker; gives whether it works. One that is not ours to start may come later."""
    if not config.embedded:
        yield lambda: broker.is_reachable(config.url)
        return
    broker.check(config.url)
    with Supervised("edgeward.monitor.broker", config.url) as embedded:
        broker.await_reachable(config.url)
        # Ours must be alive, too: another program may have taken its port.
        yield lambda: embedded.is_alive and broker.is_reachable(config.url)
