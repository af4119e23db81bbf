"""An answer that takes long and that many ask for: made once, and given for a while."""

import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")
_MOST_KEYS = 256


class Remembered(Generic[Answer]):
    """Answers by key; whoever asks while one is being made waits for it."""

    def __init__(self, for_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._for_s = for_s
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: dict[Hashable, tuple[float, Answer]] = {}

    def get(self, key: Hashable, make: Callable[[], Answer]) -> Answer:
        """The answer, at most `for_s` seconds old."""
        with self._lock:
            found = self._answers.get(key)
            if found is None or self._clock() - found[0] > self._for_s:
                if len(self._answers) >= _MOST_KEYS:
                    self._answers.clear()
                found = (self._clock(), make())
                self._answers[key] = found
            return found[1]
