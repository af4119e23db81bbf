"""What systemd is told (sd_notify(3)): that we are ready, alive, stopping. Elsewhere nothing is said to anybody."""

import os
import socket
import time

EVERY_S = 5.0  # how often `alive` is called at least; the unit's WatchdogSec is many times that

_last = float("-inf")


def ready() -> None:
    """The agent has started."""
    _say("READY=1")


def alive() -> None:
    """The main loop turns; said every few seconds, however often it does."""
    global _last  # noqa: PLW0603 (one process, one watchdog)
    now = time.monotonic()
    if now - _last >= EVERY_S:
        _last = now
        _say("WATCHDOG=1")


def stopping() -> None:
    """The agent ends because it was asked to."""
    _say("STOPPING=1")


def _say(state: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as speaker:
            speaker.connect(address)
            speaker.send(state.encode())
    except OSError:
        pass  # a supervisor that does not listen must not end us
