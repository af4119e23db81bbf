"""Predictions in order while the next batches are being fetched: a thread of its own fetches, the caller predicts.

One queue lies between the two and nothing else: each further hand-over would wake a sleeping thread, which on a board
takes about as long as predicting a small picture.

The fetching thread is a daemon that is never waited for: what it reads from may block for ever.
"""

from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

from msgspec import Struct

_END: Any = object()


class _Failed(Struct, frozen=True):
    """What the source raised, to be raised where its batch would have come."""

    error: BaseException


def stream(predict: Callable[[Any], Any], batches: Iterable[Any], depth: int) -> Iterator[Any]:
    """Predict each of the batches, in order, at most `depth` of them fetched ahead; nothing starts before."""
    fetched: SimpleQueue[Any] = SimpleQueue()
    room: SimpleQueue[None] = SimpleQueue()
    stopped = Event()
    for _ in range(max(1, depth)):
        room.put(None)
    arguments = (iter(batches), fetched, room, stopped)
    Thread(target=_fetch, args=arguments, name="edgeward-stream", daemon=True).start()
    try:
        while (batch := fetched.get()) is not _END:
            if isinstance(batch, _Failed):
                raise batch.error
            room.put(None)
            yield predict(batch)
    finally:
        stopped.set()
        room.put(None)  # for a thread that waits


def _fetch(batches: Iterator[Any], fetched: "SimpleQueue[Any]", room: "SimpleQueue[None]", stopped: Event) -> None:
    """Fetch wherever there is room, until the end of the source or of the interest in it."""
    batch = None
    try:
        while batch is not _END:
            room.get()
            if stopped.is_set():
                return
            batch = next(batches, _END)
            fetched.put(batch)
    except BaseException as error:  # the caller's own code, whatever it raises
        fetched.put(_Failed(error))
