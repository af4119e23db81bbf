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

import fcntl
import logging
import os
import uuid
from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from edgeward_runtimes.durable import fsync_folder, write_atomically
from edgeward_runtimes.errors import InstallError
from edgeward_runtimes.home import Home
from edgeward_runtimes.latency import counters
from edgeward_runtimes.latency.counters import Counters, Key
from edgeward_runtimes.latency.recorder import SUFFIX, Header, is_abandoned, read_file

_FOLDING = ".folding"
_KEPT_PER_MODEL = 64  # of what was told already: totals of releases and epochs long past
_log = logging.getLogger("edgeward.latency")


class State(Struct, frozen=True):
    """What the store keeps.

    Attributes:
        totals: A model's totals, in the order of their last change.
        folded: Ids of files whose counts are in the totals.
        baselines: By file id, what a file had counted when this store took over from a damaged one, which told of it.
    """

    id: str
    totals: dict[str, tuple[Counters, ...]] = {}
    folded: frozenset[str] = frozenset()
    baselines: dict[str, Counters] = {}


def epoch_of(store_id: str, boot: str) -> str:
    """The epoch of counts made during a boot, as this store tells it."""
    return f"{store_id[:8]}-{boot[:8]}"


def fold(state: State, file_id: str, model: str, counts: Counters) -> State:
    """Add a dead process's counts, unless they were added before."""
    if file_id in state.folded:
        return state
    totals = {**state.totals, model: _added(state.totals.get(model, ()), counts)}
    return replace(state, totals=totals, folded=state.folded | {file_id})


def forget(state: State, present: Collection[str], told: Collection[tuple[str, Key]] = ()) -> State:
    """Drop what no longer matters.

    That is what concerns files that are gone, and a model's oldest totals beyond those kept, but only of those that a
    host was told (`told`: model and key).
    """
    return replace(
        state,
        totals={
            model: _newest(rows, {key for name, key in told if name == model}) for model, rows in state.totals.items()
        },
        folded=state.folded & frozenset(present),
        baselines={file_id: counts for file_id, counts in state.baselines.items() if file_id in present},
    )


def _newest(totals: tuple[Counters, ...], told: Collection[Key]) -> tuple[Counters, ...]:
    surplus = len(totals) - _KEPT_PER_MODEL
    return tuple(each for place, each in enumerate(totals) if place >= surplus or each.key not in told)


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
        self._told: set[tuple[str, Key]] = set()
        self._unreadable: set[Path] = set()
        self._state = self._load()

    def close(self) -> None:
        """Let another process count."""
        os.close(self._lock)

    def collect(self) -> dict[str, tuple[Counters, ...]]:
        """Fold the files of dead processes; return every model's totals, living processes included."""
        try:
            self._fold_dead()
        except OSError as error:  # a full disk: what was not folded is read below as if its process lived
            _log.error("counts cannot be folded under %s, trying again: %s", self._path.parent, error)
        totals = dict(self._state.totals)
        for path in self._files():
            read = None if path.stem in self._state.folded else self._read(path)
            if read is not None:
                header, counts = read
                totals[header.model] = _added(totals.get(header.model, ()), counts)
        return totals

    def told(self, model: str, totals: Iterable[Counters]) -> None:
        """Take note that a host was told these totals: the oldest of them need not be kept for ever."""
        self._told.update((model, each.key) for each in totals)

    def _files(self) -> list[Path]:
        return sorted((*self._folder.glob(f"*{SUFFIX}"), *self._folder.glob(f"*{_FOLDING}")))

    def _fold_dead(self) -> None:
        for path in self._folder.glob(f"*{SUFFIX}"):
            if is_abandoned(path):
                path.rename(path.with_suffix(_FOLDING))
        folding = list(self._folder.glob(f"*{_FOLDING}"))
        if not folding:
            return
        state = forget(self._state, {path.stem for path in self._folder.iterdir()}, self._told)
        for path in folding:
            read = self._read(path)
            if read is not None:
                header, counts = read
                state = fold(state, path.stem, header.model, counts)
        self._write(state)
        for path in folding:
            path.unlink(missing_ok=True)
        fsync_folder(self._folder)  # gone for good before the list forgets them

    def _read(self, path: Path) -> tuple[Header, Counters] | None:
        """What a file counted for this store; None when it cannot be read, and when it is damaged it is put aside."""
        try:
            header, errors, histogram = read_file(path)
        except FileNotFoundError:
            return None
        except ValueError:
            path.rename(path.with_suffix(".damaged"))
            return None
        except OSError as error:
            if path not in self._unreadable:
                self._unreadable.add(path)
                _log.warning("%s is not counted: %s", path, error.strerror)
            return None
        counts = Counters(header.release, epoch_of(self._state.id, header.boot), errors, histogram)
        before = self._state.baselines.get(path.stem)
        return header, counts if before is None else counts.since(before)

    def _load(self) -> State:
        try:
            state = _decode(self._path.read_bytes())
        except FileNotFoundError:
            state = State(id=uuid.uuid4().hex)
        except ValueError:
            # What it counted was told under its id, and so was what the present files hold: a new id makes a new
            # epoch, in which only what is counted from now on is told, so nothing is counted twice.
            self._path.replace(self._path.with_suffix(".damaged"))
            self._state = State(id=uuid.uuid4().hex)
            present = {path.stem: self._read(path) for path in self._files()}
            state = replace(self._state, baselines={name: read[1] for name, read in present.items() if read})
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
    baselines: dict[str, bytes] = {}


def _encode(state: State) -> bytes:
    totals = {model: counters.pack(rows) for model, rows in state.totals.items()}
    baselines = {file_id: counters.pack([counts]) for file_id, counts in state.baselines.items()}
    return msgspec.msgpack.encode(_Stored(state.id, totals, state.folded, baselines))


def _decode(content: bytes) -> State:
    """Raises ValueError on anything that `_encode` does not write."""
    try:
        stored = msgspec.msgpack.decode(content, type=_Stored)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"not a counter store: {error}") from None
    totals = {model: tuple(counters.unpack(packed)) for model, packed in stored.totals.items()}
    baselines = {file_id: counters.unpack(packed)[0] for file_id, packed in stored.baselines.items()}
    return State(stored.id, totals, stored.folded, baselines)
