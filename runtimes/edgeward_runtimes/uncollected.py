"""Importing and loading without the garbage collector: they make much and let go of nothing.

Each collection between would look through all of it and free nothing: 4 ms of a process that loads a model and predicts
once, more where TensorFlow's or a large application's objects lie about.
"""

import gc
from types import TracebackType


class Uncollected:
    """A stretch in which nothing is collected by itself; afterwards as before. Two threads may be in it at once."""

    def __enter__(self) -> None:
        self._was_enabled = gc.isenabled()
        gc.disable()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._was_enabled:
            gc.enable()
