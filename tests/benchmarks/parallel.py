"""What two cores are good for: a stream that prepares ahead, and threads that share a model."""

import statistics
import threading
import time
from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any

from edgeward_runtimes.model import Model
from tests.benchmarks import models
from tests.benchmarks.models import Array
from tests.benchmarks.raw import Raw
from tests.benchmarks.timing import Turns, take_turns

_PICTURES = 64
_SIDES = (48, 64, 96, 128, 160, 192, 224, 256)  # of the pictures to decode
_TRIALS = 9  # of each size, before one is chosen
_TURNS, _KEPT = 60, 20
_PREDICTIONS = 250  # of one thread in one turn


def stream(model: Model, raw: Raw) -> Turns:
    """Seconds for 64 pictures, decoded and predicted: by a loop on the raw session, and by `stream`.

    The pictures are of the size at which decoding one takes about as long as predicting it.
    """
    pictures = models.cifar10()[:_PICTURES]
    inference_s = _usual(lambda: [raw.run(x) for x in repeat(pictures[:1].astype("float32"), _PICTURES)])
    candidates = [models.jpegs(pictures, side) for side in _SIDES]
    encoded = min(candidates, key=lambda each: abs(_usual(lambda: list(map(models.decode, each))) - inference_s))

    def loop() -> None:
        for picture in encoded:
            raw.run(models.decode(picture))

    def streamed() -> None:
        exhaust(model.stream(map(models.decode, encoded)))

    return take_turns({"raw": lambda: _seconds(loop), "edgeward": lambda: _seconds(streamed)}, _TURNS, _KEPT)


def threads(model: Model, x: Array) -> Turns:
    """Predictions a second of one thread, and of two that share the model."""
    return take_turns({"one": lambda: _rate(model, x, 1), "two": lambda: _rate(model, x, 2)}, _TURNS, _KEPT)


def exhaust(answers: Iterable[Any]) -> None:
    """Take all and keep none."""
    for _ in answers:
        pass


def _rate(model: Model, x: Array, count: int) -> float:
    """Predictions a second of `count` threads; their start is not timed."""
    ready = threading.Barrier(count + 1)

    def work() -> None:
        predict = model.predict
        ready.wait()
        for _ in repeat(None, _PREDICTIONS):
            predict(x)

    workers = [threading.Thread(target=work) for _ in range(count)]
    for worker in workers:
        worker.start()
    ready.wait()
    start = time.perf_counter()
    for worker in workers:
        worker.join()
    return count * _PREDICTIONS / (time.perf_counter() - start)


def _usual(action: Callable[[], object]) -> float:
    return statistics.median(_seconds(action) for _ in range(_TRIALS))


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
