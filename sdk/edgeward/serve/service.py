"""The server as a program: on loopback unless told otherwise, and ending its work before it stops."""

import contextlib
import ipaddress
import logging
import signal
import socket
import sys
from collections.abc import Callable

import uvicorn
from msgspec import Struct

from edgeward.listening import listening
from edgeward.serve.app import Limits, make_app
from edgeward.serve.served import Served
from edgeward_runtimes.errors import ConfigError

_STOP_S = 10


class Address(Struct, frozen=True):
    """Where to listen; port 0 takes any free one."""

    host: str = "127.0.0.1"
    port: int = 8501
    allow_remote: bool = False


def run(open_model: Callable[[], Served], address: Address, limits: Limits) -> None:
    """Serve a model until SIGTERM or SIGINT; requests under way are answered first.

    Raises:
        ConfigError: When the address is not loopback and remote access was not allowed, or cannot be listened on.
        EdgewardError: What `open_model` raises; it is called when the address is known to be good.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    _check(address)
    with listening(address.host, address.port, "Pass another --port or --host.") as web:
        served = open_model()
        with served.model:
            app = make_app(served, limits)
            config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=_STOP_S)
            # uvicorn stops at these signals, and then raises them once more: they must not end us before the model is
            # closed.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: None)
            _announce(served, web)
            uvicorn.Server(config).run(sockets=[web])


def _check(address: Address) -> None:
    """Refuse an address that others can reach, unless that was allowed. Raises ConfigError."""
    if not (address.allow_remote or _is_loopback(address.host)):
        raise ConfigError(
            f"--host {address.host} lets other machines predict here, and nothing asks them for a password. "
            "Add --allow-remote if that is meant; else leave --host out."
        )


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _announce(served: Served, web: socket.socket) -> None:
    """Say on stderr what answers where."""
    host, port = web.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    variant = served.model.variant
    print(
        f"serving {served.name} {served.version} ({variant.id}: {variant.reason}) on {url}\n"
        f"  Open Inference Protocol v2   {url}/v2/models/{served.name}/infer\n"
        f"  TensorFlow Serving REST      {url}/v1/models/{served.name}:predict\n"
        f"  Prometheus                   {url}/metrics",
        file=sys.stderr,
        flush=True,
    )
