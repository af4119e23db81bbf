"""What was counted of a model's samples, as it lies in mapped memory and as it adds up.

Old samples fade: where twice `KEPT` have been counted, all counts are halved. So a tally tells of the last few thousand
samples, whatever came before, and needs no clock.
"""

from collections.abc import Mapping
from math import isfinite
from typing import Any

import numpy as np
from msgspec import Struct

KEPT = 5000  # samples; at ten a second, a quarter of an hour
WINDOW = 1000  # answers that the accuracy is of
Words = np.ndarray[Any, np.dtype[np.uint64]]

RESET, SAMPLES, CONFIDENCE, JUDGED = range(4)  # words before the bins; CONFIDENCE is a sum of millionths
_BINS = 4
_BEYOND_COUNTING = 2**48  # and still no sum of them is more than a host can be told


class Tally(Struct, frozen=True):
    """Counts of one release of a model.

    Attributes:
        samples: How many samples the bins tell of.
        confidence: The sum of their confidences, in millionths.
        judged: How many answers were ever judged.
        latest: The last of them, at most `WINDOW`, one byte each: 1 was right, 0 was not.
        bins: Counts by feature.
        reset: The reset since which this was counted, in Unix ms; 0 for none.
    """

    samples: int = 0
    confidence: int = 0
    judged: int = 0
    latest: bytes = b""
    bins: dict[str, tuple[int, ...]] = {}
    reset: int = 0

    @property
    def accuracy(self) -> float | None:
        """The share of the latest answers that were right."""
        return sum(self.latest) / len(self.latest) if self.latest else None

    @property
    def mean_confidence(self) -> float | None:
        """Between 0 and 1; None where the model does not classify."""
        return self.confidence / 1e6 / self.samples if self.samples and self.confidence else None

    def merge(self, other: "Tally") -> "Tally":
        """Add what another process counted, and let the oldest fade."""
        names = {**self.bins, **other.bins}
        bins = {name: _added(self.bins.get(name, ()), other.bins.get(name, ())) for name in names}
        samples, confidence = self.samples + other.samples, self.confidence + other.confidence
        while samples > 2 * KEPT:
            samples, confidence = samples // 2, confidence // 2
            bins = {name: tuple(count // 2 for count in counts) for name, counts in bins.items()}
        latest = (self.latest + other.latest)[-WINDOW:]
        return Tally(samples, confidence, self.judged + other.judged, latest, bins, max(self.reset, other.reset))


class Layout(Struct, frozen=True):
    """Where counts lie in memory: the number of each feature's bins, in order."""

    bins: dict[str, int]

    @property
    def size_bytes(self) -> int:
        """Of words and window together; a multiple of 8."""
        return 8 * (_BINS + sum(self.bins.values())) + WINDOW

    def places(self) -> dict[str, int]:
        """The word of each feature's first bin."""
        found, place = {}, _BINS
        for name, count in self.bins.items():
            found[name] = place
            place += count
        return found

    def read(self, memory: bytes) -> Tally:
        """Take a copy of the memory apart. Raises ValueError when it is too small, or nobody can have counted it."""
        if len(memory) < self.size_bytes:
            raise ValueError("the counts end too early")
        words: list[int] = np.frombuffer(memory, np.uint64, self.size_bytes // 8 - WINDOW // 8).tolist()
        if max(words) >= _BEYOND_COUNTING:
            raise ValueError("the counts are none")
        window = memory[self.size_bytes - WINDOW : self.size_bytes]
        position = words[JUDGED] % WINDOW
        latest = window[position:] + window[:position] if words[JUDGED] >= WINDOW else window[:position]
        places = self.places()
        bins = {name: tuple(words[places[name] : places[name] + count]) for name, count in self.bins.items()}
        return Tally(words[SAMPLES], words[CONFIDENCE], words[JUDGED], bytes(map(bool, latest)), bins, words[RESET])


class Counts:
    """Counts in memory, to add to."""

    def __init__(self, layout: Layout, memory: Any) -> None:
        """`memory` is a writable buffer of the layout's size."""
        size = layout.size_bytes
        self._words: Words = np.frombuffer(memory, np.uint64, (size - WINDOW) // 8)
        self._window = np.frombuffer(memory, np.uint8, WINDOW, size - WINDOW)
        self._places = layout.places()

    def count(self, bins: Mapping[str, int], confidence: float | None) -> None:
        """Count one sample by the bins of its features."""
        words = self._words
        if words[SAMPLES] >= 2 * KEPT:
            words[SAMPLES] //= 2
            words[CONFIDENCE] //= 2
            words[_BINS:] //= 2
        for name, place in bins.items():
            words[self._places[name] + place] += 1
        if confidence is not None and isfinite(confidence):
            words[CONFIDENCE] += int(confidence * 1e6)
        words[SAMPLES] += 1

    def judge(self, is_right: bool) -> None:
        """Note whether an answer was right."""
        self._window[int(self._words[JUDGED]) % WINDOW] = is_right
        self._words[JUDGED] += 1

    def begin_anew(self, reset: int) -> None:
        """Forget everything, because of this reset."""
        self._words[:] = 0
        self._words[RESET] = reset

    @property
    def reset(self) -> int:
        """The reset that came last, in Unix ms."""
        return int(self._words[RESET])


def _added(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    """Bin by bin; of bins that differ in number, the later ones."""
    if len(one) != len(other):
        return other or one
    return tuple(a + b for a, b in zip(one, other, strict=True))
