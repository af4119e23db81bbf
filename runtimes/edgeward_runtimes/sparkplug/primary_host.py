"""What an edge node knows of its primary host, by the host's STATE messages (specification 3.0, sections 5.4, 5.5).

A STATE says `{"online": true | false, "timestamp": Unix ms}`, retained. One that is older than the last is ignored: the
will of a host's connection that has been replaced may come late. What was heard counts for one connection to the
broker: the next one asks anew, and takes what the broker has retained, so that a host whose clock was set back can be
heard again.
"""

import msgspec
from msgspec import Struct


class State(Struct, frozen=True):
    """A STATE message; other keys are ignored."""

    online: bool
    timestamp: int | float


def read_state(payload: bytes) -> State | None:
    """A STATE message's content, or None for anything else."""
    try:
        return msgspec.json.decode(payload, type=State)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class PrimaryHost:
    """The host that this node may wait for."""

    def __init__(self) -> None:
        self._last: State | None = None

    @property
    def is_online(self) -> bool:
        """Whether the host said so on this connection; it is not until it does."""
        return self._last is not None and self._last.online

    def reconnecting(self) -> None:
        """Forget what was heard on the connection before."""
        self._last = None

    def hear(self, payload: bytes) -> State | None:
        """Take a STATE message; return it unless it is none, or older than the last."""
        state = read_state(payload)
        if state is None or (self._last is not None and state.timestamp < self._last.timestamp):
            return None
        self._last = state
        return state
