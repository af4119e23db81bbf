"""What makes the first prediction of a process come sooner; docs/performance.md has what a start costs.

Importing and loading make much and let go of nothing: each garbage collection in between looks through all of it and
frees nothing. And msgspec takes names from typing_extensions that Python 3.11 has in typing, where importing it takes
longer than all of msgspec's own code.
"""

import gc
import sys
from types import TracebackType

_HIDDEN = "typing_extensions"


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


def import_msgspec() -> None:
    """Import msgspec as where typing_extensions is not installed, unless one of them is imported already."""
    if sys.version_info < (3, 11) or "msgspec" in sys.modules or _HIDDEN in sys.modules:
        return
    sys.modules[_HIDDEN] = None  # type: ignore[assignment]  # how Python is told that there is no such module
    try:
        import msgspec  # noqa: F401
    finally:
        del sys.modules[_HIDDEN]
