"""From the release that is installed to the bundle of another, byte for byte. Pure but for the installed files.

A bundle is a zip, the installed release its files, unpacked. A delta holds, for each member of the new bundle, its
content as a Zstandard frame with one of the installed files as dictionary (`zstd --patch-from`), and, as one more
frame, every byte between the members: headers, directory, seal. Deflated members are deflated again, which gives the
same bytes wherever the same zlib is at work. Elsewhere, and wherever else the result is not the signed bundle, the
caller sees that by its digest and takes the whole file.

The file is MessagePack of a `Delta`. It was signed as well; yet it is read as if it had not been: sizes are checked
before anything is unpacked, and an installed file is named by its path in the manifest or not at all.
"""

import zlib
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
from msgspec import Meta, Struct

from edgeward_runtimes.errors import DeltaError, EdgewardError, one_line
from edgeward_runtimes.manifest import Size
from edgeward_runtimes.release import MANIFEST, Release
from edgeward_runtimes.update.published import Published

SCHEMA = 1


class Frame(Struct, frozen=True, forbid_unknown_fields=True):
    """Compressed bytes: how many they become, and which installed file was their dictionary."""

    size_bytes: Size
    content: bytes
    reference: str | None = None


class Member(Struct, frozen=True, forbid_unknown_fields=True):
    """One member's data in the bundle: after so many bytes of what is between, this content, deflated or as it is."""

    after: Size
    frame: Frame
    deflated: bool


class Delta(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    schema: Annotated[int, Meta(ge=SCHEMA, le=SCHEMA)]
    between: Frame
    members: tuple[Member, ...]


def encode(delta: Delta) -> bytes:
    """Write it."""
    return msgspec.msgpack.encode(delta)


def apply(content: bytes, installed: Path, wanted: Published, out: BinaryIO) -> None:
    """Write the bundle of the wanted release; the caller checks its digest.

    Args:
        content: The delta.
        installed: The folder of the release that it begins from.
        wanted: What is signed of the release that it leads to.
        out: Where it goes.

    Raises:
        DeltaError: It does not fit, or Zstandard is not installed here.
    """
    try:
        delta = msgspec.msgpack.decode(content, type=Delta)
        _check_sizes(delta, wanted)
        _write(delta, _Installed(installed), out)
    except ModuleNotFoundError as error:
        raise DeltaError("Deltas need the package 'zstandard': pip install 'edgeward[update]'") from error
    except (msgspec.DecodeError, UnicodeDecodeError, OSError, EdgewardError, MemoryError) as error:
        raise DeltaError(f"The delta does not fit what is installed: {one_line(error)}") from error


def deflate(content: bytes) -> bytes:
    """As Python's zipfile does it unless told otherwise."""
    deflating = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflating.compress(content) + deflating.flush()


class _Installed:
    """The files of a release, by the paths that its manifest declares."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths = {MANIFEST, *(file.path for file in Release.open(folder).manifest.files())}

    def read(self, path: str) -> bytes:
        if path not in self._paths:
            raise DeltaError(f"{path!r} is no file of the installed release.")
        return (self._folder / path).read_bytes()


def _check_sizes(delta: Delta, wanted: Published) -> None:
    """Before anything is unpacked: it must not become more than what was signed."""
    unpacked = sum(member.frame.size_bytes for member in delta.members)
    if unpacked > wanted.custom.size or delta.between.size_bytes > wanted.length:
        raise DeltaError(
            f"It becomes more than the {wanted.length} bytes ({wanted.custom.size} unpacked) of the release."
        )


def _write(delta: Delta, installed: _Installed, out: BinaryIO) -> None:
    between, taken = _content(delta.between, installed), 0
    for member in delta.members:
        out.write(between[taken : taken + member.after])
        taken += member.after
        content = _content(member.frame, installed)
        out.write(deflate(content) if member.deflated else content)
    out.write(between[taken:])


def _content(frame: Frame, installed: _Installed) -> bytes:
    import zstandard

    dictionary = None
    if frame.reference is not None:
        dictionary = zstandard.ZstdCompressionDict(
            installed.read(frame.reference), dict_type=zstandard.DICT_TYPE_RAWCONTENT
        )
    try:
        if zstandard.get_frame_parameters(frame.content).content_size != frame.size_bytes:
            raise DeltaError(f"A frame does not hold the {frame.size_bytes} bytes that it declares.")
        return zstandard.ZstdDecompressor(dict_data=dictionary).decompress(frame.content)
    except zstandard.ZstdError as error:
        raise DeltaError(f"A frame cannot be unpacked: {one_line(error)}.") from error
