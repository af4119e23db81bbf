"""The zip reader: what Python's zipfile reads of an archive it reads, too, and of no damage does it make an archive."""

import contextlib
import hashlib
import io
import struct
import sys
import zipfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeward_runtimes import archive, digests

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\\:\0"), min_size=1, max_size=20)
CONTENTS = st.dictionaries(NAMES, st.binary(max_size=200) | st.integers(0, 5000).map(bytes), max_size=5)
METHODS = st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])


def _zipped(contents: dict[str, bytes], method: int, comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as packed:
        for name, content in contents.items():
            packed.writestr(zipfile.ZipInfo(name), content, method)
        packed.comment = comment
    return buffer.getvalue()


def _read(content: bytes, comment_length: int = 0, at_most: int = 10_000) -> dict[str, bytes]:
    stream = io.BytesIO(content)
    members = archive.members(stream, len(content) - archive.END_LENGTH - comment_length)
    return {member.name: archive.read(stream, member, at_most) for member in members}


@given(CONTENTS, METHODS, st.binary(max_size=80))
def test_it_reads_what_was_zipped(contents: dict[str, bytes], method: int, comment: bytes) -> None:
    assert _read(_zipped(contents, method, comment), len(comment)) == contents


def test_a_member_is_read_no_further_than_asked() -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        assert _read(_zipped({"long": bytes(5000)}, method), at_most=10) == {"long": bytes(10)}


@given(CONTENTS.filter(bool), METHODS, st.data())
def test_damage_is_an_error_of_those_told_or_other_content(
    contents: dict[str, bytes], method: int, data: st.DataObject
) -> None:
    content = bytearray(_zipped(contents, method))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] ^= data.draw(st.integers(1, 255))
    kept = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    with contextlib.suppress(ValueError, struct.error, zlib.error):
        assert all(len(read) <= 10_000 for read in _read(bytes(content[:kept])).values())


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (6, b"\x01\x00", "is encrypted"),
        (8, b"\x0c\x00", "is not where its directory says"),
    ],
)
def test_a_local_header_that_says_otherwise_is_refused(offset: int, value: bytes, message: str) -> None:
    content = bytearray(_zipped({"a": b"b"}, zipfile.ZIP_STORED))
    content[offset : offset + 2] = value
    with pytest.raises(ValueError, match=message):
        _read(bytes(content))


def test_what_needs_zip64_is_refused() -> None:
    content = bytearray(_zipped({"a": b"b"}, zipfile.ZIP_STORED))
    entry = content.index(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = b"\xff" * 4
    with pytest.raises(ValueError, match="4 GiB or more"):
        _read(bytes(content))


@given(st.binary(max_size=300))
def test_every_sha256_is_the_same(content: bytes) -> None:
    assert digests.sha256_of(content) == hashlib.sha256(content).hexdigest()
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "hashlib")  # as in a process that has not loaded OpenSSL
        own = digests.sha256(len(content))
        own.update(content)
        assert own.hexdigest() == hashlib.sha256(content).hexdigest()
        assert type(own) is not type(hashlib.sha256()), "Python's own"
