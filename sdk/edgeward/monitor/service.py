"""The monitor as one program: broker, ingest process and web server, started in that order and stopped in the other."""

import contextlib
import logging
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import msgspec
import uvicorn

from edgeward.monitor import broker, store
from edgeward.monitor.api import make_app
from edgeward.monitor.config import HttpConfig, MonitorConfig
from edgeward_runtimes.errors import MonitorError

_log = logging.getLogger("edgeward.monitor")
_STOP_S = 5.0
_RESTART_AFTER_S = 1.0


def run(config: MonitorConfig) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        MonitorError: When a port is taken or the store cannot be opened; nothing is left running.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with _listening(config.http) as web, broker.running(config.broker):
        engine = store.open_engine(config.store.url)
        app = make_app(engine)
        from edgeward.monitor import dashboard

        dashboard.mount(app, engine, config)
        with _ingesting(config):
            print(f"dashboard: http://{config.http.host}:{config.http.port}", file=sys.stderr, flush=True)
            server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
            # uvicorn stops at these signals, and then raises them once more: they must not end us before our children.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: None)
            server.run(sockets=[web])


@contextlib.contextmanager
def _listening(config: HttpConfig) -> Iterator[socket.socket]:
    """The web server's socket, bound before anything else starts, so that a taken port is an error at once."""
    with socket.socket(socket.AF_INET6 if ":" in config.host else socket.AF_INET) as web:
        web.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            web.bind((config.host, config.port))
        except OSError as error:
            raise MonitorError(
                f"The dashboard cannot listen on {config.host}:{config.port}: {error.strerror}. "
                "Set another [http] port in monitor.toml."
            ) from error
        yield web


@contextlib.contextmanager
def _ingesting(config: MonitorConfig) -> Iterator[None]:
    """Have an ingest process run, and a new one whenever it dies."""
    stopping = threading.Event()
    process = _start_ingest(config)

    def supervise() -> None:
        nonlocal process
        while not stopping.is_set():
            try:
                process.wait(0.5)
            except subprocess.TimeoutExpired:
                continue
            if not stopping.wait(_RESTART_AFTER_S):
                _log.error("ingest ended with code %s; starting it again", process.returncode)
                process = _start_ingest(config)

    supervisor = threading.Thread(target=supervise, name="edgeward-supervisor", daemon=True)
    supervisor.start()
    try:
        yield
    finally:
        stopping.set()
        supervisor.join()
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _start_ingest(config: MonitorConfig) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "edgeward.monitor.ingest", msgspec.json.encode(config).decode()]
    return subprocess.Popen(command, stdin=subprocess.PIPE)  # it ends when this pipe closes
