"""Readings on their way to the fleet: told live, kept while nobody listens, told later as history.

Births and data travel at QoS 0 (specification 3.0, section 6.4), so no message of theirs is ever acknowledged. But a
broker takes a connection's packets in order: once it has acknowledged a later request, it has had everything before
it. Such a request, a *fence*, is made after every birth, after every batch of history, and from time to time behind
the live reports (`agent.connection` says which request it is). Until then a reading is kept, a live one in memory and
one of the spool on the disk; when the connection is lost first, it will be told as history: perhaps twice, since the
times of its values say which they are, but never not at all.
"""

from collections.abc import Callable

from msgspec import Struct

from edgeward_runtimes.agent.spool import Spool
from edgeward_runtimes.sparkplug.codec import Value
from edgeward_runtimes.sparkplug.session import Reading

BATCH = 20  # readings of history in one message
UNFENCED = 10  # live readings, after which a fence is due


class _Fence(Struct, frozen=True):
    """What has gone out before a request: so many live readings, and the spool up to an id."""

    request: int
    live: int
    spooled: int


class Outbox:
    """What the fleet has not had for certain."""

    def __init__(self, spool: Spool, arrived: Callable[[Reading], None]) -> None:
        """`arrived` is told of every live reading that the broker has had for certain."""
        self._spool = spool
        self._arrived = arrived
        self._live: list[Reading] = []
        self._sent_up_to = 0
        self._fence: _Fence | None = None

    @property
    def counts(self) -> dict[str, Value]:
        """The node's metrics about the spool."""
        return {"spool_rows": self._spool.rows, "spool_dropped": self._spool.dropped}

    @property
    def is_waiting(self) -> bool:
        """Whether a fence has not been acknowledged yet."""
        return self._fence is not None

    @property
    def has_history(self) -> bool:
        """Whether there are readings to be told as history."""
        return self._spool.rows > 0

    @property
    def unfenced(self) -> int:
        """How many live readings are not certain to have arrived."""
        return len(self._live)

    def keep(self, reading: Reading) -> None:
        """Nobody listens: put a reading on the disk."""
        self._spool.append(reading)

    def told(self, reading: Reading) -> None:
        """Take note of a reading that was sent live."""
        self._live.append(reading)

    def next_batch(self) -> list[Reading]:
        """The oldest history, which counts as sent now."""
        batch = self._spool.oldest(BATCH)
        self._sent_up_to = batch[-1][0] if batch else 0
        return [reading for _, reading in batch]

    def fenced(self, request: int) -> None:
        """Take note of a request that was made after all that was sent so far."""
        self._fence = _Fence(request, len(self._live), self._sent_up_to)

    def acknowledged(self, request: int) -> bool:
        """Forget what was sent before a request; False when it is another one's acknowledgement."""
        fence = self._fence
        if fence is None or fence.request != request:
            return False
        self._fence = None
        for reading in self._live[: fence.live]:
            self._arrived(reading)
        del self._live[: fence.live]
        if fence.spooled:
            self._spool.forget(fence.spooled)
            self._sent_up_to = 0
        return True

    def arrived_all(self) -> None:
        """The broker acknowledged something that was sent last of all."""
        self.fenced(0)
        self.acknowledged(0)

    def lost(self) -> None:
        """The connection is gone, and with it perhaps what was not acknowledged."""
        for reading in self._live:
            self._spool.append(reading)
        self._live.clear()
        self._fence, self._sent_up_to = None, 0

    def close(self) -> None:
        """Keep what is not certain, and close the spool."""
        self.lost()
        self._spool.close()
