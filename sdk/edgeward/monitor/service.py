"""The monitor as one program: broker, ingest process and web server, started in that order and stopped in the other."""

import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator

import msgspec
import uvicorn

from edgeward.listening import listening
from edgeward.monitor import broker, store
from edgeward.monitor.api import make_app
from edgeward.monitor.config import BrokerConfig, MonitorConfig
from edgeward.monitor.supervisor import Supervised


def run(config: MonitorConfig) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        ConfigError: When the web server cannot listen where it should.
        MonitorError: When the broker cannot, or the store cannot be opened. Nothing is left running.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    http = listening(config.http.host, config.http.port, "Set another [http] port in monitor.toml.")
    with http as web, _broker(config.broker) as broker_works:
        engine = store.open_engine(config.store.url)
        with Supervised("edgeward.monitor.ingest", msgspec.json.encode(config).decode()) as ingest:
            app = make_app(engine, {"broker": broker_works, "ingest": lambda: ingest.is_alive})
            from edgeward.monitor import dashboard

            dashboard.mount(app, engine, config)
            print(f"dashboard: http://{config.http.host}:{config.http.port}", file=sys.stderr, flush=True)
            _serve(uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)), web)


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
