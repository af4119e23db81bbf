"""What makes the first prediction of a process come sooner; docs/performance.md has what a start costs.

Importing and loading make much and let go of nothing: each garbage collection in between looks through all of it and
frees nothing.
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
