"""Counting one process's predictions of one model, in memory that outlives the process.

A recorder owns one memory-mapped file. Counting is a store into it, so what was counted is there after
`kill -9`: the kernel keeps the page. The file's owner holds an exclusive lock (flock) for as long as it lives,
and the kernel drops that lock at its death, so whoever can take the lock knows that no more will be counted.

    bytes 0–7       magic
    bytes 8–1023    the header's length (2 bytes, little-endian), the header (Header, msgpack), zeros
    bytes 1024–…    uint64, native order: errors, sum of latencies in ns, then the histogram's buckets

A file is made under a `.new` name, locked, and then renamed to `.latency`: no reader ever sees one unlocked
while its owner lives.
"""

import contextlib
import errno
import os
import stat
import warnings
import weakref
from _thread import allocate_lock
from typing import TYPE_CHECKING, BinaryIO

import msgspec
import numpy as np
from msgspec import Struct

from edgeward_runtimes.engines import StrPath
from edgeward_runtimes.latency.histogram import BUCKET_COUNT, Histogram, bucket_of

if TYPE_CHECKING:
    import mmap
    from pathlib import Path

MAGIC = b"EWLAT\x00\x00\x02"
SUFFIX = ".latency"
_HEADER, _HEADER_END = len(MAGIC) + 2, 1024
_ERRORS, _SUM, _BUCKETS = 0, 1, 2
FILE_SIZE = 8192
_WORDS = 2 + BUCKET_COUNT


class Header(Struct, frozen=True):
    """Whose counts a file holds. `boot` is the kernel's boot id: counts of another boot are another epoch's."""

    id: str
    model: str
    release: str
    boot: str
    pid: int


class Recorder:
    """Counts successes and failures, of any thread."""

    def __init__(self, model: str, release: str, folder: StrPath | None) -> None:
        """Count in a file under `folder`, or in private memory when `folder` is None."""
        self._identity = (model, release, folder)
        self._lock = allocate_lock()  # a count is a read, an add and a store
        self._open()
        _recorders.add(self)

    def _open(self) -> None:
        model, release, folder = self._identity
        self._map: bytearray | mmap.mmap = bytearray(FILE_SIZE)
        if folder is not None:
            try:
                self._map = _create(folder, model, release)
            except OSError as error:
                warnings.warn(
                    f"Predictions of {model} are not reported: {folder} cannot be written ({error.strerror}). "
                    "Set EDGEWARD_RUN to a folder that this user and the agent share.",
                    RuntimeWarning,
                    stacklevel=4,
                )
        self._words = memoryview(self._map)[_HEADER_END : _HEADER_END + 8 * _WORDS].cast("Q")

    def success(self, elapsed_ns: int) -> None:
        """Count one answered prediction that took `elapsed_ns`."""
        bucket = _BUCKETS + bucket_of(elapsed_ns)
        lock = self._lock
        lock.acquire()  # `with` takes three times as long
        try:
            words = self._words
            # The bucket is the count; the sum only serves the mean, so a kill between the two loses no prediction.
            words[bucket] += 1
            words[_SUM] += elapsed_ns
        finally:
            lock.release()

    def failure(self) -> None:
        """Count one prediction that the engine failed."""
        with self._lock:
            self._words[_ERRORS] += 1

    def read(self) -> tuple[int, Histogram]:
        """Errors and the histogram so far, also after closing."""
        with self._lock:
            return _split(self._words)

    def close(self) -> None:
        """Let go of the file, which stays for the agent to fold. What is counted afterwards is not reported."""
        _recorders.discard(self)
        with self._lock:
            counted = bytearray(self._words)
            self._words.release()
            if not isinstance(self._map, bytearray):
                self._map.close()
            self._words, self._map = memoryview(counted).cast("Q"), counted

    def _reopen_in_child(self) -> None:
        """After fork: leave the parent's file to the parent and count in one of our own."""
        self._lock = allocate_lock()  # another thread of the parent's may have held it
        self.close()
        self._open()
        _recorders.add(self)


def _create(folder: StrPath, model: str, release: str) -> "mmap.mmap":
    """Make, lock and publish a latency file; return its map."""
    header = Header(os.urandom(16).hex(), model, release, boot_id(), os.getpid())
    encoded = msgspec.msgpack.encode(header)
    return publish(folder, header.id, SUFFIX, MAGIC + len(encoded).to_bytes(2, "little") + encoded, FILE_SIZE)


def publish(folder: StrPath, name: str, suffix: str, head: bytes, size: int) -> "mmap.mmap":
    """Make a file of so many bytes that begins with `head`, lock it, and give it its name; return its map.

    The map keeps a duplicate of the descriptor, and with it the lock, until it is closed or collected.
    """
    import fcntl
    import mmap

    os.makedirs(folder, exist_ok=True)
    staged = os.path.join(folder, name)
    descriptor = os.open(f"{staged}.new", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.posix_fallocate(descriptor, 0, size)  # a full disk is an error now, not a SIGBUS later
        os.pwrite(descriptor, head, 0)
        mapped = mmap.mmap(descriptor, size)
        os.rename(f"{staged}.new", f"{staged}{suffix}")
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(f"{staged}.new")
        raise
    finally:
        os.close(descriptor)
    return mapped


def read_file(path: "Path") -> tuple[Header, int, Histogram]:
    """Read a latency file, its owner alive or dead: header, errors, histogram.

    Raises:
        ValueError: When the file is not one.
        OSError: When it cannot be read.
    """
    import mmap

    with open_regular(path) as stream:
        if os.fstat(stream.fileno()).st_size != FILE_SIZE:
            raise ValueError(f"{path} is not a latency file: it is not {FILE_SIZE} bytes long")
        with mmap.mmap(stream.fileno(), FILE_SIZE, access=mmap.ACCESS_READ) as mapped:
            head = mapped[:_HEADER_END]
            if not head.startswith(MAGIC):
                raise ValueError(f"{path} is not a latency file: wrong magic")
            try:
                length = int.from_bytes(head[len(MAGIC) : _HEADER], "little")
                header = msgspec.msgpack.decode(head[_HEADER : _HEADER + length], type=Header)
            except msgspec.MsgspecError as error:
                raise ValueError(f"{path} is not a latency file: {error}") from None
            # Through the map and 8-byte words, not read(): a word is then never seen half-written.
            with memoryview(mapped) as view, view[_HEADER_END : _HEADER_END + 8 * _WORDS].cast("Q") as words:
                return (header, *_split(words))


def open_regular(path: "Path") -> BinaryIO:
    """Open for reading what should be a latency file; OSError for anything that is no regular file.

    The folder may be shared with other users: nothing in it may make the agent wait or follow it elsewhere.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def is_abandoned(path: "Path") -> bool:
    """Whether it is a file made by `publish` that no living process owns."""
    import fcntl

    with contextlib.suppress(OSError), open_regular(path) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
    return False


def _split(words: memoryview) -> tuple[int, Histogram]:
    # One copy in one call: a fork in between would leave the child a view that keeps it from closing the map.
    numbers = np.frombuffer(bytes(words), np.uint64)
    return int(numbers[_ERRORS]), Histogram(numbers[_BUCKETS:], int(numbers[_SUM]))


def boot_id() -> str:
    """The kernel's id of this boot."""
    with open("/proc/sys/kernel/random/boot_id") as stream:
        return stream.read().strip()


_recorders: "weakref.WeakSet[Recorder]" = weakref.WeakSet()


def _after_fork() -> None:
    for recorder in list(_recorders):
        recorder._reopen_in_child()


os.register_at_fork(after_in_child=_after_fork)
