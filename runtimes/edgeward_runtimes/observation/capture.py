"""Samples kept on the device: a bounded ring of files, of which nothing leaves the device unasked.

Each sample is one file of MessagePack, written under another name and renamed, so it is there whole or not at all,
whatever is killed. Files are named by their time; beyond the number, the bytes or the age that the settings allow, the
oldest go. Several processes may write into one ring. The folder is its owner's alone (0700).
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from edgeward_runtimes.engines import Array, StrPath
from edgeward_runtimes.observation.settings import Capture

Reason = Literal["uncertain", "drifted", "sampled"]
_SUFFIX = ".sample"
_MEGABYTE = 1_000_000
_DAY_NS = 86_400 * 10**9
_UNSEEN = 32  # samples that are written without looking what other processes wrote


class Packed(Struct, frozen=True, array_like=True):
    """An array as bytes; `dtype` is numpy's own short name with its byte order."""

    dtype: str
    shape: tuple[int, ...]
    content: bytes


class Sample(Struct, frozen=True):
    """One sample without its batch axis. `time` is Unix ns; `y` is what feedback said of it."""

    time: int
    release: str
    reason: Reason
    confidence: float | None
    inputs: dict[str, Packed]
    outputs: dict[str, Packed]
    y: int | None = None


def pack(array: Array) -> Packed:
    """An array as it is kept."""
    return Packed(array.dtype.str, array.shape, array.tobytes())


def unpack(packed: Packed) -> Array:
    """The array. Raises ValueError when the bytes are not those of that shape and dtype."""
    try:
        dtype = np.dtype(packed.dtype)
        if dtype.hasobject:
            raise ValueError("objects are no samples")
        return np.frombuffer(packed.content, dtype).reshape(packed.shape)
    except TypeError as error:
        raise ValueError(str(error)) from None


def read(path: str) -> Sample:
    """Read a sample's file. Raises ValueError for a damaged one, OSError."""
    return decode(_read(path))


def decode(content: bytes) -> Sample:
    """Take a file's content apart. Raises ValueError on anything that `Ring.keep` does not write."""
    try:
        sample = msgspec.msgpack.decode(content, type=Sample)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"not a captured sample: {error}") from None
    for packed in (*sample.inputs.values(), *sample.outputs.values()):
        unpack(packed)
    return sample


class Ring:
    """The samples of one model."""

    def __init__(self, folder: StrPath, limits: Capture) -> None:
        self._folder = os.fspath(folder)
        self._limits = limits
        self._most_bytes = int(limits.size_mb * _MEGABYTE)
        self._room = (0, 0)  # samples and bytes that may be written before the folder is looked at again

    def keep(self, sample: Sample) -> str | None:
        """Let the oldest go and write a sample; gives its path, or None where it is too large. Raises OSError."""
        content = msgspec.msgpack.encode(sample)
        if len(content) > self._most_bytes:
            return None
        if self._room[0] < 1 or self._room[1] < len(content):
            self._make_room(sample.time, len(content))
        os.makedirs(os.path.dirname(self._folder), exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._folder, 0o700)
        path = f"{self._folder}/{sample.time:020d}-{os.getpid()}{_SUFFIX}"
        _write(path, content)
        self._room = (self._room[0] - 1, self._room[1] - len(content))
        return path

    def trim(self, now: int) -> tuple[int, int]:
        """Remove what is too old at this time (Unix ns), or too much; what is left, as `usage`. Raises OSError."""
        return self._trim(now, self._limits.samples, self._most_bytes)

    def _make_room(self, now: int, needed: int) -> None:
        """For this sample, and a tenth of the ring beyond it where that is more: looking takes time."""
        most, most_bytes = self._limits.samples, self._most_bytes
        samples = max(1, min(most // 10, _UNSEEN))
        kept, size = self._trim(now, most - samples, most_bytes - max(needed, most_bytes // 10))
        self._room = (min(most - kept, _UNSEEN), most_bytes - size)

    def _trim(self, now: int, most: int, most_bytes: int) -> tuple[int, int]:
        kept = size = 0
        for path, length, made in sorted(self._entries(), reverse=True):
            is_old = now - made > self._limits.days * _DAY_NS
            if is_old or kept + 1 > most or size + length > most_bytes:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
            else:
                kept, size = kept + 1, size + length
        return kept, size

    def paths(self) -> list[str]:
        """The files of all that is kept, oldest first; they may go at any time. Raises OSError."""
        return sorted(path for path, _, _ in self._entries() if path.endswith(_SUFFIX))

    def usage(self) -> tuple[int, int]:
        """How many samples are kept, and their bytes. Raises OSError."""
        sizes = [size for path, size, _ in self._entries() if path.endswith(_SUFFIX)]
        return len(sizes), sum(sizes)

    def _entries(self) -> Iterator[tuple[str, int, int]]:
        """Path, bytes and time (Unix ns) of everything there, files that were never finished among it."""
        try:
            entries = os.scandir(self._folder)
        except FileNotFoundError:
            return
        with entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    found = entry.stat(follow_symlinks=False)
                    began = entry.name.partition("-")[0]
                    yield entry.path, found.st_size, int(began) if began.isdecimal() else found.st_mtime_ns


def label(path: str, y: int) -> None:
    """Note the truth of a kept sample, unless it is gone, or there is no room."""
    with contextlib.suppress(OSError, ValueError):
        _write(path, msgspec.msgpack.encode(replace(read(path), y=y)))


def _read(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()


def _write(path: str, content: bytes) -> None:
    staged = f"{path}.new"
    try:
        with open(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as stream:
            stream.write(content)
        os.rename(staged, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(staged)
        raise
