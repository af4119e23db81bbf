"""Every certificate that a fleet's authority ever issued, in `index.json`.

A certificate is in the index before it is on the disk, so none exists that could not be revoked. One process at a time
changes it, under a lock; it is written whole or not at all.
"""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from edgeward_runtimes.durable import write_atomically
from edgeward_runtimes.errors import ConfigError


class Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """A certificate. Times are Unix seconds; `serial` is hexadecimal."""

    serial: str
    name: str
    issued_at: float
    expires_at: float
    revoked_at: float | None = None

    def is_good(self, now: float) -> bool:
        """Whether it opens the broker."""
        return self.revoked_at is None and now < self.expires_at


class Index(Struct, frozen=True, forbid_unknown_fields=True):
    """All of them, in the order in which they were issued."""

    entries: tuple[Entry, ...] = ()

    def good(self, name: str, now: float) -> list[Entry]:
        """Those of a name that open the broker."""
        return [entry for entry in self.entries if entry.name == name and entry.is_good(now)]

    def names(self) -> list[str]:
        """Everybody who ever had one, sorted."""
        return sorted({entry.name for entry in self.entries})

    def with_issued(self, entry: Entry) -> "Index":
        """With one more."""
        return Index((*self.entries, entry))

    def with_revoked(self, name: str, now: float) -> "Index":
        """With all of a name revoked, expired ones too: a clock that is wrong must not let them in."""
        return Index(
            tuple(
                replace(entry, revoked_at=now) if entry.name == name and entry.revoked_at is None else entry
                for entry in self.entries
            )
        )


def read(path: Path) -> Index:
    """Read an index; none is an empty one. Raises ConfigError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Index)
    except FileNotFoundError:
        return Index()
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}. Restore it: without it, nobody can be revoked.") from error


def write(path: Path, index: Index) -> None:
    """Write it, durably."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(index), indent=1), mode=0o600)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[Index]:
    """The index, while nobody else can change it."""
    with path.with_suffix(".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield read(path)
