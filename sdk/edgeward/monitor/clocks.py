"""What a device's clock is ahead of ours, from the times that its messages carry (pure)."""

from collections import deque

_SAMPLES = 8


class SkewEstimate:
    """The largest of the last eight differences: messages come later than they were sent, more or less, never earlier.

    That is the least-delay choice of NTP's clock filter (RFC 5905, section 10), without a way back: what remains in it
    is the fastest journey of eight. A clock that is stepped back is believed after eight messages, forward at once.
    """

    __slots__ = ("_samples", "seconds")

    def __init__(self) -> None:
        self._samples: deque[float] = deque(maxlen=_SAMPLES)
        self.seconds: float | None = None

    def add(self, timestamp: int | None, at: float) -> None:
        """A message that says it was sent at `timestamp` (Unix ms) came at `at` (Unix seconds)."""
        if timestamp is not None:
            self._samples.append(timestamp / 1000 - at)
            self.seconds = max(self._samples)
