"""From latency files to persistent totals, each count exactly once.

A file whose owner is dead (its lock can be taken) is folded in three steps, any of which may be the last one
before a crash:

1. `X.latency` is renamed to `X.folding`: from here on it belongs to the fold;
2. one atomic write of the store adds its counts and puts X on the store's `folded` list;
3. `X.folding` is removed.

The next start finds what was left: an `X.folding` that is on the list was counted and is only removed; one that is not
is counted. The list forgets X once its file is gone. One process folds at a time (a lock on the store).

`fold` and `forget` are the pure core; `CounterStore` does the files.
"""

import contextlib
import fcntl
import os
import uuid
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from edgeward_runtimes.durable import write_atomically
from edgeward_runtimes.errors import InstallError
from edgeward_runtimes.home import Home
from edgeward_runtimes.latency import counters
from edgeward_runtimes.latency.counters import Counters
from edgeward_runtimes.latency.recorder import SUFFIX, Header, read_file

_FOLDING = ".folding"
_KEPT_PER_MODEL = 16  # totals of releases and epochs long past, the newest last


class State(Struct, frozen=True):
    """What the store keeps. `totals` maps a model to its totals in the order of their last change."""

    id: str
    totals: dict[str, tuple[Counters, ...]] = {}
    folded: frozenset[str] = frozenset()


def epoch_of(store_id: str, boot: str) -> str:
    """The epoch of counts made during a boot, as this store tells it."""
    return f"{store_id[:8]}-{boot[:8]}"


def fold(state: State, file_id: str, model: str, counts: Counters) -> State:
    """Add a dead process's counts, unless they were added before."""
    if file_id in state.folded:
        return state
    totals = {**state.totals, model: _added(state.totals.get(model, ()), counts)[-_KEPT_PER_MODEL:]}
    return replace(state, totals=totals, folded=state.folded | {file_id})


def forget(state: State, present: Iterable[str]) -> State:
    """Drop from the `folded` list what has no file any more."""
    return replace(state, folded=state.folded & frozenset(present))


def _added(totals: tuple[Counters, ...], counts: Counters) -> tuple[Counters, ...]:
    """Merge counts into the totals of their key, which moves to the end."""
    same = [each for each in totals if each.key == counts.key]
    others = tuple(each for each in totals if each.key != counts.key)
    return (*others, same[0].merge(counts) if same else counts)


class CounterStore:
    """A device's totals: `counters.msgpack` under its home."""

    def __init__(self, home: Home) -> None:
        """Open the store, making it when absent.

        Raises:
            InstallError: When another process has it open.
        """
        self._folder = home.latency
        self._path = home.root / "counters.msgpack"
        home.root.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(home.root / ".counters.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise InstallError(f"Another agent already counts for {home.root}. Stop it first.") from None
        self._state = self._load()

    def close(self) -> None:
        """Let another process count."""
        os.close(self._lock)

    def collect(self) -> dict[str, tuple[Counters, ...]]:
        """Fold the files of dead processes; return every model's totals, living processes included."""
        self._fold_dead()
        totals = dict(self._state.totals)
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            read = self._read(path)
            if read is not None:
                header, counts = read
                totals[header.model] = _added(totals.get(header.model, ()), counts)
        return totals

    def _fold_dead(self) -> None:
        for path in self._folder.glob(f"*{SUFFIX}"):
            if _is_abandoned(path):
                path.rename(path.with_suffix(_FOLDING))
        folding = list(self._folder.glob(f"*{_FOLDING}"))
        state = forget(self._state, (path.stem for path in folding))
        for path in folding:
            read = self._read(path)
            if read is not None:
                header, counts = read
                state = fold(state, path.stem, header.model, counts)
        if state != self._state and folding:
            self._write(state)
        for path in folding:
            path.unlink(missing_ok=True)

    def _read(self, path: Path) -> tuple[Header, Counters] | None:
        """A file's counts, or None (and the file put aside) when it is damaged."""
        try:
            header, errors, histogram = read_file(path)
        except FileNotFoundError:
            return None
        except ValueError:
            path.rename(path.with_suffix(".damaged"))
            return None
        return header, Counters(header.release, epoch_of(self._state.id, header.boot), errors, histogram)

    def _load(self) -> State:
        try:
            state = _decode(self._path.read_bytes())
        except FileNotFoundError:
            state = State(id=uuid.uuid4().hex)
        except ValueError:
            # What it counted was reported under its id; a new id makes a new epoch, so nothing is counted twice.
            self._path.replace(self._path.with_suffix(".damaged"))
            state = State(id=uuid.uuid4().hex)
        else:
            return state
        self._write(state)
        return state

    def _write(self, state: State) -> None:
        write_atomically(self._path, _encode(state))
        self._state = state


class _Stored(Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    totals: dict[str, bytes]
    folded: frozenset[str]


def _encode(state: State) -> bytes:
    totals = {model: counters.pack(rows) for model, rows in state.totals.items()}
    return msgspec.msgpack.encode(_Stored(state.id, totals, state.folded))


def _decode(content: bytes) -> State:
    """Raises ValueError on anything that `_encode` does not write."""
    try:
        stored = msgspec.msgpack.decode(content, type=_Stored)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"not a counter store: {error}") from None
    totals = {model: tuple(counters.unpack(packed)) for model, packed in stored.totals.items()}
    return State(stored.id, totals, stored.folded)


def _is_abandoned(path: Path) -> bool:
    """Whether no living process owns the file."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
    return False
