"""Progress that is told at most a few times a second."""

import time
from collections.abc import Callable

_PAUSE_S = 0.2


def throttled(progress: Callable[[float], None]) -> Callable[[float], None]:
    """Pass on what is told, unless it comes too soon after the last; the end, 1.0, is always told."""
    told_at = float("-inf")

    def tell(done: float) -> None:
        nonlocal told_at
        now = time.monotonic()
        if done >= 1 or now - told_at >= _PAUSE_S:
            told_at = now
            progress(done)

    return tell
