"""The `.edge` file: one zip holding a model's variants, its golden samples and its manifest.

Rules kept here:

- Nothing in a bundle is used before it was checked: the seal over the whole file, the members' paths and sizes against
  the manifest, and the SHA-256 of each member that is read. `Bundle.open` reads all of them.
- The seal is the zip's own archive comment, `edgeward-sha256:HEX`, over every byte before HEX. It covers
  what member digests cannot see (headers, names, timestamps), and `unzip` still opens the file.
- A member is never read past its declared size, so a zip bomb costs nothing. Stored and deflated members alone are
  taken: Python unpacks other methods a whole chunk at a time, whatever its size.
- A failed write or unpack leaves no file behind under the final name.

The seal finds damage and tampering by accident or ignorance; who made a bundle is proved by signatures.

What only some callers need is imported where they need it: a process that loads a model starts by a third faster.
"""

import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from edgeward_runtimes import archive, digests
from edgeward_runtimes import manifest as manifests
from edgeward_runtimes.archive import Member
from edgeward_runtimes.errors import (
    BundleError,
    DigestError,
    MissingFileError,
    NotABundleError,
    OversizeError,
    TruncatedBundleError,
    UndeclaredFileError,
    UnsafePathError,
)
from edgeward_runtimes.manifest import File, Manifest, Variant
from edgeward_runtimes.release import MANIFEST, Release

if TYPE_CHECKING:
    from pathlib import Path

    from edgeward_runtimes.samples import GoldenSamples

__all__ = ["MANIFEST", "Bundle", "Release", "declare", "write"]

_SEAL = b"edgeward-sha256:"
_SEAL_LENGTH = len(_SEAL) + 64
_END_OF_DIRECTORY = b"PK\x05\x06"
_MANIFEST_LIMIT = 16 * 2**20
_CHUNK = 2**16
_WORTH_DEFLATING = 0.8
_EPOCH = (1980, 1, 1, 0, 0, 0)  # fixed member times: the same content gives the same bytes

StrPath = str | os.PathLike[str]
Members = dict[str, Member]


class Bundle:
    """An opened, checked `.edge` file."""

    def __init__(self, path: StrPath, manifest: Manifest, digest: str) -> None:
        self._path = os.fspath(path)
        self.manifest = manifest
        self.digest = digest

    @classmethod
    def open(cls, path: StrPath) -> "Bundle":
        """Open a bundle and check every byte of it, and every member against the manifest.

        Raises:
            BundleError: The subclass says what is wrong; see `edgeward_runtimes.errors`.
        """
        path = os.fspath(path)
        with _reading(path), open(path, "rb") as stream:
            digest, manifest, members = _check(stream, path)
            for file in manifest.files():
                _read_checked(stream, members, file, path)
        return cls(path, manifest, digest)

    @classmethod
    def open_sealed(cls, path: StrPath) -> "Bundle":
        """Open a bundle for some of its members: what is read of it is all that is unpacked.

        Every byte is checked against the seal, the paths and sizes of all members against the manifest. A member's own
        SHA-256 is checked by `read`, as it always is; here those differ only in a bundle that was sealed with another
        member than its manifest declares.

        Raises:
            BundleError: As `open`.
        """
        path = os.fspath(path)
        with _reading(path), open(path, "rb") as stream:
            digest, manifest, _ = _check(stream, path)
        return cls(path, manifest, digest)

    @property
    def path(self) -> "Path":
        """Where the file lies."""
        from pathlib import Path

        return Path(self._path)

    @property
    def release_id(self) -> str:
        """`<version>-<digest8>`, the release's folder name on a device."""
        return f"{self.manifest.version}-{self.digest[:8]}"

    def read(self, member: str) -> bytes:
        """Return one member's bytes, checked again: the file may have changed since it was opened."""
        if member == MANIFEST:
            return manifests.encode(self.manifest)
        declared = {file.path: file for file in self.manifest.files()}
        if member not in declared:
            raise MissingFileError(f"{self._path} holds no {member!r}; it holds {sorted(declared)}.")
        with _reading(self._path), open(self._path, "rb") as stream:
            return _read_checked(stream, _members(stream, self._path), declared[member], self._path)

    def golden(self) -> "GoldenSamples":
        """The golden samples. Raises BundleError when they are not of the manifest's tensors."""
        from edgeward_runtimes.samples import GoldenSamples

        return GoldenSamples.decode(self.read(self.manifest.golden.path), self.manifest, self._path)

    def unpack(self, folder: "Path") -> Release:
        """Write every member under `folder`, each checked and fsynced.

        Raises:
            BundleError: When the file changed since it was opened.
            OSError: When the disk is full or read-only; the caller removes the folder.
        """
        from edgeward_runtimes.durable import fsync_folder, write_atomically

        folder.mkdir(parents=True, exist_ok=True)
        for file in self.manifest.files():
            write_atomically(folder / file.path, self.read(file.path))
        write_atomically(folder / MANIFEST, self.read(MANIFEST))
        fsync_folder(folder)
        return Release(folder, self.manifest, self.release_id)

    @contextmanager
    def unpacked(self, variant: Variant | None = None) -> Iterator[Release]:
        """Have the bundle in a temporary folder for a while: all of it, or one variant's files alone.

        Raises BundleError, also for want of room.
        """
        files = variant.files if variant is not None else self.manifest.files()
        names = [file.path for file in files] if variant is not None else [MANIFEST, *(file.path for file in files)]
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(_temporary_folder())
                for name in names:
                    os.makedirs(os.path.dirname(f"{folder}/{name}"), exist_ok=True)
                    with open(f"{folder}/{name}", "wb") as stream:
                        stream.write(self.read(name))
            except OSError as error:
                raise BundleError(
                    f"{self._path} cannot be unpacked: {error.strerror or error}. Make room, or set TMPDIR elsewhere."
                ) from error
            yield Release(folder, self.manifest, self.release_id)

    def mend(self, folder: "Path") -> None:
        """Write anew what differs from the bundle in a folder that it was unpacked into, each file in one rename."""
        from edgeward_runtimes.durable import write_atomically

        for file in self.manifest.files():
            path = folder / file.path
            if not path.is_file() or digests.sha256_of(path.read_bytes()) != file.sha256:
                write_atomically(path, self.read(file.path))
        if not (folder / MANIFEST).is_file() or (folder / MANIFEST).read_bytes() != self.read(MANIFEST):
            write_atomically(folder / MANIFEST, self.read(MANIFEST))

    def save(self, path: StrPath) -> "Bundle":
        """Copy the bundle to `path`, whole or not at all, and return the bundle there."""
        from pathlib import Path

        from edgeward_runtimes.durable import write_atomically

        write_atomically(Path(path), self.path.read_bytes())
        return Bundle(path, self.manifest, self.digest)

    def __repr__(self) -> str:
        variants = ", ".join(variant.id for variant in self.manifest.variants)
        return f"<Bundle {self.manifest.name} {self.release_id}: {variants}>"


def declare(path: str, content: bytes) -> File:
    """Describe one member for the manifest."""
    return File(path=path, size_bytes=len(content), sha256=digests.sha256_of(content))


def write(path: StrPath, manifest: Manifest, contents: Mapping[str, bytes]) -> Bundle:
    """Write a sealed bundle, whole or not at all, and open it with every check.

    Args:
        path: Where the `.edge` file goes.
        manifest: Its manifest; must declare exactly `contents`.
        contents: Member path to bytes, without the manifest.

    Raises:
        BundleError: When manifest and contents do not agree.
    """
    import io
    import zipfile
    from pathlib import Path

    from edgeward_runtimes.durable import write_atomically

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for member, content in [(MANIFEST, manifests.encode(manifest)), *contents.items()]:
            packed.writestr(zipfile.ZipInfo(member, _EPOCH), content, _method(content))
        packed.comment = _SEAL + b"0" * 64
    unsealed = buffer.getvalue()[:-64]
    sealed = unsealed + digests.sha256_of(unsealed).encode()
    with _reading(os.fspath(path)):
        _check(io.BytesIO(sealed), os.fspath(path))
    write_atomically(Path(path), sealed)
    return Bundle.open(path)


def _method(content: bytes) -> int:
    """How to pack a member: weights hardly compress, and each load would inflate them again."""
    beginning = content[:_CHUNK]
    is_worth_it = len(zlib.compress(beginning)) < _WORTH_DEFLATING * len(beginning)
    return archive.DEFLATED if is_worth_it else archive.STORED


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Whatever a damaged archive makes its reader raise is a BundleError."""
    try:
        yield
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, struct.error, zlib.error) as error:
        raise BundleError(f"{path} is a damaged zip archive: {error}. Copy it again.") from error


def _check(stream: BinaryIO, path: str) -> tuple[str, Manifest, Members]:
    """Check the seal, and all members but their content; the digest, the manifest and the members."""
    digest = _check_seal(stream, path)
    members = _members(stream, path)
    return digest, _check_members(stream, members, path), members


def _check_seal(stream: BinaryIO, path: str) -> str:
    """Check the digest over the whole file; return it."""
    if stream.read(2) != b"PK":
        raise NotABundleError(f"{path} is not a bundle: expected a zip archive. Make one with: edgeward convert")
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - archive.END_LENGTH - _SEAL_LENGTH))
    tail = stream.read()
    if _END_OF_DIRECTORY not in tail:
        raise TruncatedBundleError(f"{path} ends after {size} bytes, before its directory. Copy it again.")
    seal = tail[-_SEAL_LENGTH:]
    if not seal.startswith(_SEAL):
        raise DigestError(f"{path} carries no edgeward seal: damaged, or not written by edgeward convert.")
    actual, expected = _digest(stream, size - 64, path), seal[len(_SEAL) :].decode("ascii", "replace")
    if actual != expected:
        raise DigestError(
            f"{path} was changed after it was written: its bytes hash to {actual[:12]}…, its seal says "
            f"{expected[:12]}…. Copy it again from where it was made."
        )
    return actual


def _digest(stream: BinaryIO, size: int, path: str) -> str:
    """The SHA-256 of the first `size` bytes."""
    digest = digests.sha256(size)
    stream.seek(0)
    remaining = size
    while remaining:
        chunk = stream.read(min(_CHUNK, remaining))
        if not chunk:
            raise TruncatedBundleError(f"{path} was cut while it was read. Copy it again.")
        remaining -= len(chunk)
        digest.update(chunk)
    return digest.hexdigest()


def _members(stream: BinaryIO, path: str) -> Members:
    """The members by path; each one's path and the way it is packed are checked."""
    size = stream.seek(0, os.SEEK_END)
    found = archive.members(stream, size - archive.END_LENGTH - _SEAL_LENGTH)
    members = {member.name: member for member in found}
    for name, member in members.items():
        folders = name.split("/")
        if {"", ".", ".."} & set(folders) or any(character in name for character in "\\:\0"):
            raise UnsafePathError(f"{path} holds {name!r}, which would leave the bundle's folder. Do not use it.")
        if any("/".join(folders[:depth]) in members for depth in range(1, len(folders))):
            raise UnsafePathError(f"{path} holds {name!r} and a file where its folder would be. Do not use it.")
        if member.method not in (archive.STORED, archive.DEFLATED):
            raise BundleError(f"{path} packs {name!r} in a way that bundles do not: neither stored nor deflated.")
    if len(found) != len(members):
        raise UndeclaredFileError(f"{path} holds two members of one name.")
    return members


def _check_members(stream: BinaryIO, members: Members, path: str) -> Manifest:
    """Check presence and sizes of all members; return the manifest."""
    if MANIFEST not in members:
        raise MissingFileError(f"{path} holds no {MANIFEST}: it is a zip, but not a bundle.")
    document = archive.read(stream, members[MANIFEST], _MANIFEST_LIMIT + 1)
    if len(document) > _MANIFEST_LIMIT:
        raise OversizeError(f"{path}: {MANIFEST} is larger than {_MANIFEST_LIMIT} bytes.")
    manifest = manifests.decode(document, path)
    declared = {file.path: file for file in manifest.files()}
    for name in members:
        if name != MANIFEST and name not in declared:
            raise UndeclaredFileError(f"{path} holds {name!r}, which its manifest does not declare.")
    for file in declared.values():
        if file.path not in members:
            raise MissingFileError(f"{path} declares {file.path!r}, but does not hold it.")
        _check_size(members[file.path].size_bytes, file, path)
    return manifest


def _read_checked(stream: BinaryIO, members: Members, file: File, path: str) -> bytes:
    """Read one member, never past its declared size, and check its digest."""
    if file.path not in members:
        raise MissingFileError(f"{path} declares {file.path!r}, but does not hold it.")
    content = archive.read(stream, members[file.path], file.size_bytes + 1)
    _check_size(len(content), file, path)
    if digests.sha256_of(content) != file.sha256:
        raise DigestError(f"{path}: the SHA-256 of {file.path!r} differs from the one declared.")
    return content


def _check_size(size_bytes: int, file: File, path: str) -> None:
    if size_bytes > file.size_bytes:
        raise OversizeError(f"{path}: {file.path!r} is larger than the {file.size_bytes} bytes declared.")
    if size_bytes < file.size_bytes:
        raise DigestError(f"{path}: {file.path!r} has {size_bytes} bytes; {file.size_bytes} were declared.")


@contextmanager
def _temporary_folder() -> Iterator[str]:
    """A private folder under $TMPDIR or /tmp, gone afterwards: tempfile's would cost 3 ms of imports."""
    folder = f"{os.environ.get('TMPDIR') or '/tmp'}/edgeward-{os.urandom(8).hex()}"  # noqa: S108
    os.mkdir(folder, 0o700)
    try:
        yield folder
    finally:
        with suppress(OSError):
            for place, folders, files in os.walk(folder, topdown=False):
                for name in files:
                    os.unlink(f"{place}/{name}")
                for name in folders:
                    os.rmdir(f"{place}/{name}")
            os.rmdir(folder)
