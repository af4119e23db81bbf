"""How often an address may present a wrong token: a bucket for each that fills again with time.

Time is an argument. Threads may share one.
"""

import threading
from collections import OrderedDict

_MOST_ADDRESSES = 10_000


class Failures:
    """Allows `burst` failures at once, and another every `refill_s`. Memory is bounded."""

    def __init__(self, burst: int = 10, refill_s: float = 6.0) -> None:
        self._burst = burst
        self._refill_s = refill_s
        self._lock = threading.Lock()
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()  # how many, as of when

    def wait_s(self, address: str, now: float) -> float:
        """For how long this address has to wait before it may try again; 0 when it need not."""
        over = self._now_spent(address, now) - self._burst + 1
        return max(0.0, over * self._refill_s)

    def record(self, address: str, now: float) -> None:
        """Count one more failure."""
        with self._lock:
            self._spent[address] = (self._now_spent(address, now) + 1, now)
            self._spent.move_to_end(address)
            while len(self._spent) > _MOST_ADDRESSES:
                self._spent.popitem(last=False)

    def _now_spent(self, address: str, now: float) -> float:
        spent, at = self._spent.get(address, (0.0, now))
        return max(0.0, spent - max(0.0, now - at) / self._refill_s)
