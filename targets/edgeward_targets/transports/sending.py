"""How a file is sent, over any line: not at all when it is there, from where it broke off, and proved by digest.

What has arrived lies beside its place as `NAME.<digest16>.part`, so that pieces of different files never mix. Before
a transfer goes on, what is there is compared with the same part of ours.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from edgeward_runtimes import digests
from edgeward_runtimes.errors import DeviceError
from edgeward_targets.transports import FileStat, Sending

CHUNK_BYTES = 2**20


class RemoteFiles(Protocol):
    """What sending needs of the other side; paths are absolute. Each raises DeviceError."""

    def stat(self, path: str) -> FileStat | None:
        """Size and digest, or None when there is no such file."""
        ...

    def extend(self, path: str, offset: int, stream: BinaryIO, sent: "Sent") -> None:
        """Write what is left of `stream` at `offset`, the end of the file; tell `sent` of every chunk."""
        ...

    def publish(self, partial: str, path: str) -> None:
        """Have the file on the disk, then give it its name by one rename."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""
        ...


class Sent:
    """How far a file is, told to whoever wants to know."""

    def __init__(self, told: Sending | None) -> None:
        self.travelled = 0
        self._total = 0
        self._there = 0
        self._told = told or (lambda done, total: None)

    def begin(self, offset: int, total: int) -> None:
        """So many bytes of all are there already."""
        self._there, self._total = offset, total
        self._told(offset, total)

    def advance(self, count: int) -> None:
        """So many more have travelled."""
        self.travelled += count
        self._there += count
        self._told(self._there, self._total)


def send(files: RemoteFiles, local: Path, remote: str, sent: Sent) -> None:
    """Bring a file to the other side.

    Raises:
        DeviceError: When the line broke (what arrived stays, and the next attempt goes on from there), or what
            arrived is not what was sent.
    """
    wanted = describe(local)
    if files.stat(remote) == wanted:
        sent.begin(wanted.size_bytes, wanted.size_bytes)
        return
    partial = f"{remote}.{wanted.sha256[:16]}.part"
    offset = _arrived(files, partial, local, wanted.size_bytes)
    sent.begin(offset, wanted.size_bytes)
    with _opened(local) as stream:
        stream.seek(offset)
        files.extend(partial, offset, stream, sent)
    if files.stat(partial) != wanted:
        files.remove(partial)
        raise DeviceError(f"{local} arrived damaged at {remote}. Try again; it starts from the beginning.")
    files.publish(partial, remote)


def describe(local: Path, size_bytes: int | None = None) -> FileStat:
    """Size and digest of a file of ours, or of its first bytes. Raises DeviceError when it cannot be read."""
    remaining = size_bytes
    digest, size = digests.sha256(2**30), 0
    with _opened(local) as stream:
        while chunk := stream.read(CHUNK_BYTES if remaining is None else min(CHUNK_BYTES, remaining - size)):
            digest.update(chunk)
            size += len(chunk)
    return FileStat(size, digest.hexdigest())


def _arrived(files: RemoteFiles, partial: str, local: Path, size_bytes: int) -> int:
    """How many bytes are there and need not travel again."""
    there = files.stat(partial)
    if there is None:
        return 0
    if there.size_bytes <= size_bytes and describe(local, there.size_bytes) == there:
        return there.size_bytes
    files.remove(partial)
    return 0


@contextlib.contextmanager
def _opened(local: Path) -> Iterator[BinaryIO]:
    try:
        stream = local.open("rb")
    except OSError as error:
        raise DeviceError(f"{local} cannot be read: {error.strerror}.") from error
    with stream:
        yield stream
