"""Make a delta from one bundle to another; `edgeward_runtimes.update.delta` says what one is."""

import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import zstandard

from edgeward_runtimes.bundle import MANIFEST, Bundle
from edgeward_runtimes.update import delta
from edgeward_runtimes.update.delta import Delta, Frame, Member

_LEVEL, _QUICK_LEVEL = 19, 3
_LOCAL = struct.Struct("<26x2H")  # a member's local header: the lengths of its name and extra field come last
_WINDOW_LOG = range(zstandard.WINDOWLOG_MIN, 31)


def make(old: Bundle, new: Bundle) -> bytes:
    """The delta by which a device that has `old` installed gets the file of `new`."""
    installed = {path: old.read(path) for path in (MANIFEST, *(file.path for file in old.manifest.files()))}
    content = new.path.read_bytes()
    members, between, position = [], bytearray(), 0
    for path, begin, end, is_deflated in _places(new.path):
        between += content[position:begin]
        packed = content[begin:end]
        unpacked, deflated = _unpacked(packed, is_deflated)
        members.append(Member(after=begin - position, frame=_frame(path, unpacked, installed), deflated=deflated))
        position = end
    between += content[position:]
    return delta.encode(Delta(delta.SCHEMA, _compress(bytes(between), None), tuple(members)))


def _places(path: Path) -> list[tuple[str, int, int, bool]]:
    """Every member's name, where its data begins and ends in the file, and whether it is deflated; in file order."""
    with zipfile.ZipFile(path) as archive, path.open("rb") as stream:
        found = []
        for member in archive.infolist():
            stream.seek(member.header_offset)
            name_length, extra_length = _LOCAL.unpack(stream.read(_LOCAL.size))
            begin = member.header_offset + _LOCAL.size + name_length + extra_length
            deflated = member.compress_type == zipfile.ZIP_DEFLATED
            found.append((member.filename, begin, begin + member.compress_size, deflated))
    return sorted(found, key=lambda each: each[1])


def _unpacked(packed: bytes, is_deflated: bool) -> tuple[bytes, bool]:
    """What to compress of a member: its content where that deflates to the same bytes again, else its bytes as is."""
    if not is_deflated:
        return packed, False
    content = zlib.decompress(packed, -zlib.MAX_WBITS)
    return (content, True) if delta.deflate(content) == packed else (packed, False)


def _frame(path: str, content: bytes, installed: Mapping[str, bytes]) -> Frame:
    """With the file of the same path as dictionary, else with the one that helps most."""
    if path in installed:
        return _compress(content, path, installed[path])
    quick = {name: len(_compress(content, name, file, _QUICK_LEVEL).content) for name, file in installed.items()}
    best = min(quick, key=quick.__getitem__)
    return _compress(content, best, installed[best])


def _compress(content: bytes, reference: str | None, dictionary: bytes = b"", level: int = _LEVEL) -> Frame:
    span = len(content) + len(dictionary)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level,
        source_size=len(content),
        dict_size=len(dictionary),
        window_log=max(_WINDOW_LOG.start, min(_WINDOW_LOG.stop - 1, span.bit_length())),
        enable_ldm=True,
        write_content_size=True,
        write_checksum=False,
        write_dict_id=False,
    )
    raw = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if reference else None
    compressor = zstandard.ZstdCompressor(dict_data=raw, compression_params=parameters)
    return Frame(len(content), compressor.compress(content), reference)
