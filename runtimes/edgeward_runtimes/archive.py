"""A zip archive's members, read as strictly as a bundle allows. Pure but for the stream that it is given.

Our own and not the standard library's zipfile: that takes for a zip whatever could be one, and it would bring
compressors, random numbers and paths into every process that loads a model (docs/performance.md).

Of PKWARE's APPNOTE (6.3.10, section 4.3) this reads: one disk, a directory that ends where the end record begins, no
encryption, no zip64, members stored or deflated, names in ASCII or marked as UTF-8. Python's zipfile, `zip` and
`unzip` write and read the same.
"""

import struct
import zlib
from typing import BinaryIO

from msgspec import Struct

STORED, DEFLATED = 0, 8
END_LENGTH = 22
_END, _ENTRY, _LOCAL = struct.Struct("<4s4H2LH"), struct.Struct("<4s6H3L5H2L"), struct.Struct("<4s5H3L2H")
_END_SIGNATURE, _ENTRY_SIGNATURE, _LOCAL_SIGNATURE = b"PK\x05\x06", b"PK\x01\x02", b"PK\x03\x04"
_ENCRYPTED, _UTF_8 = 0x0001, 0x0800
_ZIP64 = 0xFFFFFFFF  # a size or place that stands elsewhere


class Member(Struct, frozen=True):
    """One entry of the directory, as it says. `method` and `size_bytes` may be anything; `read` sees to that."""

    name: str
    encoded_name: bytes
    method: int
    packed_bytes: int
    size_bytes: int
    place: int


def members(stream: BinaryIO, end: int) -> list[Member]:
    """List the members of the archive whose end record begins at `end`. Raises ValueError or struct.error."""
    stream.seek(end)
    signature, disk, first_disk, here, count, size, place, _ = _END.unpack(stream.read(END_LENGTH))
    if signature != _END_SIGNATURE or disk or first_disk or here != count or place + size != end:
        raise ValueError("its directory is not where its end says")
    stream.seek(place)
    directory = stream.read(size)
    found, entry = [], 0
    for _ in range(count):
        member, length = _member(directory, entry)
        found.append(member)
        entry += length
    if entry != size:
        raise ValueError("its directory is longer than its members")
    return found


def read(stream: BinaryIO, member: Member, at_most: int) -> bytes:
    """Read one member, and no more than `at_most` bytes of it. Raises ValueError, struct.error or zlib.error."""
    stream.seek(member.place)
    signature, _, flags, method, *_, name_length, extra_length = _LOCAL.unpack(stream.read(_LOCAL.size))
    if signature != _LOCAL_SIGNATURE or method != member.method or stream.read(name_length) != member.encoded_name:
        raise ValueError(f"{member.name!r} is not where its directory says")
    if flags & _ENCRYPTED:
        raise ValueError(f"{member.name!r} is encrypted")
    stream.seek(extra_length, 1)
    if method == STORED:
        return stream.read(min(member.packed_bytes, at_most))
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream.read(member.packed_bytes), at_most)


def _member(directory: bytes, entry: int) -> tuple[Member, int]:
    """The member whose entry begins there, and the entry's length."""
    fields = _ENTRY.unpack_from(directory, entry)
    signature, flags, method, (packed, size), place = fields[0], fields[3], fields[4], fields[8:10], fields[16]
    name_length, extra_length, comment_length = fields[10:13]
    name_at = entry + _ENTRY.size
    encoded = directory[name_at : name_at + name_length]
    if signature != _ENTRY_SIGNATURE or len(encoded) != name_length:
        raise ValueError("its directory is damaged")
    if _ZIP64 in (packed, size, place):
        raise ValueError("it or a member of it has 4 GiB or more, which no bundle may")
    name = encoded.decode("utf-8" if flags & _UTF_8 else "ascii")
    return Member(name, encoded, method, packed, size, place), _ENTRY.size + name_length + extra_length + comment_length
