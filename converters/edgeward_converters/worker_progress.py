"""How a long job in the worker tells how far it is. Where no worker runs it, nobody is told."""

from collections.abc import Callable
from typing import Any

_listeners: list[Callable[[Any], None]] = []


def listen(listener: Callable[[Any], None]) -> None:
    """Have what is told from now on given to `listener`."""
    _listeners[:] = [listener]


def tell(told: Any) -> None:
    """Say something picklable to whoever waits for the job (`Worker.run_heard`)."""
    for listener in _listeners:
        listener(told)
