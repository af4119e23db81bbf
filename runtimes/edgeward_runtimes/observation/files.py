"""The memory-mapped file of one observer, beside the latency files, and made and locked as those are.

    bytes 0–7     magic
    bytes 8–11    the header's length (little-endian), then the header (Header, msgpack), zeros to a multiple of 8
    then          words and window, as `tally.Layout` has them

Counting is a store into it, so it survives `kill -9` of its owner; whoever can take its lock knows the owner is dead.
"""

import os
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from edgeward_runtimes.engines import StrPath
from edgeward_runtimes.latency.recorder import open_regular, publish
from edgeward_runtimes.observation.tally import Layout, Tally

if TYPE_CHECKING:
    import mmap
    from pathlib import Path

SUFFIX = ".observed"
_MAGIC = b"EWOBS\x00\x00\x01"
_HEADER = len(_MAGIC) + 4
_LARGEST = 2**20


class Header(Struct, frozen=True):
    """Whose counts a file holds, and where in it."""

    id: str
    model: str
    release: str
    layout: Layout


def create(folder: StrPath, model: str, release: str, layout: Layout) -> "tuple[mmap.mmap, int]":
    """Make a file of our own; gives its map, and where in it the counts begin. Raises OSError."""
    header = Header(os.urandom(16).hex(), model, release, layout)
    encoded = msgspec.msgpack.encode(header)
    start = _start(len(encoded))
    head = _MAGIC + len(encoded).to_bytes(4, "little") + encoded
    return publish(folder, header.id, SUFFIX, head, start + layout.size_bytes), start


def read(path: "Path") -> tuple[Header, Tally]:
    """Read a file, its owner alive or dead. Raises ValueError when it is none, OSError when it cannot be read."""
    with open_regular(path) as stream:
        content = stream.read(_LARGEST)
    return decode(content)


def decode(content: bytes) -> tuple[Header, Tally]:
    """Take a file's bytes apart. Raises ValueError."""
    if not content.startswith(_MAGIC):
        raise ValueError("not an observer's file: wrong magic")
    length = int.from_bytes(content[len(_MAGIC) : _HEADER], "little")
    try:
        header = msgspec.msgpack.decode(content[_HEADER : _HEADER + length], type=Header)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"not an observer's file: {error}") from None
    if any(count < 0 for count in header.layout.bins.values()):
        raise ValueError("not an observer's file: a feature has less than no bins")
    return header, header.layout.read(content[_start(length) :])


def _start(length: int) -> int:
    """Where the counts begin behind a header of so many bytes."""
    return -(-(_HEADER + length) // 8) * 8
