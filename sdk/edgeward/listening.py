"""A web server's socket, bound before anything else starts, so that a taken port is an error at once."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from edgeward_runtimes.errors import ConfigError


@contextmanager
def listening(host: str, port: int, next_step: str) -> Iterator[socket.socket]:
    """Have a bound TCP socket; port 0 takes any free one.

    Raises:
        ConfigError: When it cannot be bound; `next_step` ends the message.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named TCP, or asyncio leaves Nagle's algorithm on, and an answer waits 40 ms for the client's acknowledgement.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as web:
        web.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            web.bind((host, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"Cannot listen on {host}:{port}: {reason}. {next_step}") from error
        yield web
