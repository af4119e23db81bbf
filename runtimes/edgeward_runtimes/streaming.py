"""Predictions in order over threads: one fetches, one or two predict, the caller takes.

Two predict where a prediction takes one core. Python code of the fetching thread keeps a prediction that is done from
coming back to Python (the GIL), often for as long as it took, and meanwhile its core would idle.

The fetching thread is a daemon that is never waited for: what it reads from may block for ever. The predicting ones are
waited for, also at the interpreter's end, as an engine must not come back to a Python that is gone.
"""

import atexit
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from threading import Thread, current_thread
from typing import Any

from msgspec import Struct

_END: Any = object()


class _Outcome(Struct, frozen=True):
    """What became of a batch."""

    answer: Any = None
    error: BaseException | None = None


class _Slot:
    """Where the outcome of one batch is put once, and taken once by who waits for it."""

    def __init__(self) -> None:
        outcomes: SimpleQueue[_Outcome] = SimpleQueue()
        self.put, self.take = outcomes.put, outcomes.get


class _Stream:
    """One run over the batches."""

    def __init__(self, predict: Callable[[Any], Any], batches: Iterator[Any], depth: int, predictors: int) -> None:
        self._predict, self._batches = predict, batches
        self._room: SimpleQueue[None] = SimpleQueue()
        self._todo: SimpleQueue[tuple[Any, _Slot] | None] = SimpleQueue()
        self._order: SimpleQueue[_Slot] = SimpleQueue()
        self._is_stopped = False
        for _ in range(depth):
            self._room.put(None)
        atexit.register(self.stop)
        self._predictors = [_start(self._work, "predict") for _ in range(predictors)]
        _start(self._fetch, "fetch")

    def answers(self) -> Iterator[Any]:
        """The answers in order; raises what the source or a prediction raised, in its place."""
        try:
            while True:
                outcome = self._order.get().take()
                if outcome.error is not None:
                    raise outcome.error
                if outcome.answer is _END:
                    return
                self._room.put(None)
                yield outcome.answer
        finally:
            atexit.unregister(self.stop)
            self.stop()

    def stop(self) -> None:
        """Fetch no more, predict no more, and wait for the predictions under way."""
        self._is_stopped = True
        self._room.put(None)
        for _ in self._predictors:
            self._todo.put(None)
        for predictor in self._predictors:
            if predictor is not current_thread():  # where the garbage collector came upon an abandoned stream
                predictor.join()

    def _fetch(self) -> None:
        """Fetch wherever there is room; the outcome of the last slot is the source's own."""
        end = _Outcome(_END)
        try:
            while True:
                self._room.get()
                if self._is_stopped:
                    return
                batch = next(self._batches, _END)
                if batch is _END:
                    break
                slot = _Slot()
                self._order.put(slot)
                self._todo.put((batch, slot))
        except BaseException as error:  # the caller's own code, whatever it raises
            end = _Outcome(error=error)
        slot = _Slot()
        slot.put(end)
        self._order.put(slot)

    def _work(self) -> None:
        while True:
            job = self._todo.get()
            if job is None or self._is_stopped:
                return
            batch, slot = job
            try:
                slot.put(_Outcome(self._predict(batch)))
            except BaseException as error:  # the caller's to see, in its place
                slot.put(_Outcome(error=error))


def _start(work: Callable[[], None], name: str) -> Thread:
    thread = Thread(target=work, name=f"edgeward-stream-{name}", daemon=True)
    thread.start()
    return thread


def stream(predict: Callable[[Any], Any], batches: Iterable[Any], depth: int, predictors: int) -> Iterator[Any]:
    """Predict each of the batches, in order, at most `depth` of them ahead of the caller; nothing starts before."""
    yield from _Stream(predict, iter(batches), max(1, depth), predictors).answers()
