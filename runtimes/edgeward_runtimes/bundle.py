"""The `.edge` file: one zip holding a model's variants, its golden samples and its manifest.

Rules kept here:

- Nothing in a bundle is used before everything in it was checked: the seal over the whole file, then each
  member's path, size and SHA-256 against the manifest.
- The seal is the zip's own archive comment, `edgeward-sha256:HEX`, over every byte before HEX. It covers
  what member digests cannot see (headers, names, timestamps), and `unzip` still opens the file.
- A member is never read past its declared size, so a zip bomb costs nothing. Stored and deflated members alone are
  taken: Python unpacks other methods a whole chunk at a time, whatever its size.
- A failed write or unpack leaves no file behind under the final name.

The seal finds damage and tampering by accident or ignorance; who made a bundle is proved by signatures.
"""

import hashlib
import io
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath

from edgeward_runtimes import manifest as manifests
from edgeward_runtimes.durable import fsync_folder, write_atomically
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
from edgeward_runtimes.samples import GoldenSamples

MANIFEST = "manifest.json"
_SEAL = b"edgeward-sha256:"
_SEAL_LENGTH = len(_SEAL) + 64
_END_OF_DIRECTORY = b"PK\x05\x06"
_MANIFEST_LIMIT = 16 * 2**20
_CHUNK = 2**20
_EPOCH = (1980, 1, 1, 0, 0, 0)  # fixed member times: the same content gives the same bytes


class Release:
    """A verified bundle, unpacked into a folder: what engines open. `id` is its `<version>-<digest8>`."""

    def __init__(self, folder: Path, manifest: Manifest, release_id: str) -> None:
        self.folder = folder
        self.manifest = manifest
        self.id = release_id

    @classmethod
    def open(cls, folder: Path) -> "Release":
        """Read an unpacked release's manifest. Raises BundleError when there is none."""
        path = folder / MANIFEST
        try:
            return cls(folder, manifests.decode(path.read_bytes(), str(folder)), folder.name)
        except OSError as error:
            raise MissingFileError(f"{folder} holds no readable {MANIFEST}: {error.strerror}.") from error

    def artifact(self, variant: Variant) -> Path:
        """The file that the variant's engine opens: the first one declared."""
        return self.folder / variant.files[0].path

    def golden(self) -> GoldenSamples:
        """The golden samples, read from disk. Raises BundleError when they are not of the manifest's tensors."""
        content = (self.folder / self.manifest.golden.path).read_bytes()
        return GoldenSamples.decode(content, self.manifest, str(self.folder))


class Bundle:
    """An opened, wholly checked `.edge` file."""

    def __init__(self, path: Path, manifest: Manifest, digest: str) -> None:
        self.path = path
        self.manifest = manifest
        self.digest = digest

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Bundle":
        """Open a bundle and check every byte of it.

        Raises:
            BundleError: The subclass says what is wrong; see `edgeward_runtimes.errors`.
        """
        path = Path(path)
        with _reading(path), path.open("rb") as stream:
            digest = _check_seal(stream, path)
            with zipfile.ZipFile(stream) as archive:
                manifest = _check_members(archive, path)
        return cls(path, manifest, digest)

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
            raise MissingFileError(f"{self.path} holds no {member!r}; it holds {sorted(declared)}.")
        with _reading(self.path), zipfile.ZipFile(self.path) as archive:
            return _read_checked(archive, declared[member], self.path)

    def golden(self) -> GoldenSamples:
        """The golden samples. Raises BundleError when they are not of the manifest's tensors."""
        return GoldenSamples.decode(self.read(self.manifest.golden.path), self.manifest, str(self.path))

    def unpack(self, folder: Path) -> Release:
        """Write every member under `folder`, each checked and fsynced.

        Raises:
            BundleError: When the file changed since it was opened.
            OSError: When the disk is full or read-only; the caller removes the folder.
        """
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
        files = self.manifest.files() if variant is None else variant.files
        with ExitStack() as stack:
            try:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeward-")))
                for member in (MANIFEST, *(file.path for file in files)):
                    (folder / member).parent.mkdir(parents=True, exist_ok=True)
                    (folder / member).write_bytes(self.read(member))
            except OSError as error:
                raise BundleError(
                    f"{self.path} cannot be unpacked: {error.strerror or error}. Make room, or set TMPDIR elsewhere."
                ) from error
            yield Release(folder, self.manifest, self.release_id)

    def mend(self, folder: Path) -> None:
        """Write anew what differs from the bundle in a folder that it was unpacked into, each file in one rename."""
        for file in self.manifest.files():
            path = folder / file.path
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != file.sha256:
                write_atomically(path, self.read(file.path))
        if not (folder / MANIFEST).is_file() or (folder / MANIFEST).read_bytes() != self.read(MANIFEST):
            write_atomically(folder / MANIFEST, self.read(MANIFEST))

    def save(self, path: str | os.PathLike[str]) -> "Bundle":
        """Copy the bundle to `path`, whole or not at all, and return the bundle there."""
        path = Path(path)
        write_atomically(path, self.path.read_bytes())
        return Bundle(path, self.manifest, self.digest)

    def __repr__(self) -> str:
        variants = ", ".join(variant.id for variant in self.manifest.variants)
        return f"<Bundle {self.manifest.name} {self.release_id}: {variants}>"


def declare(path: str, content: bytes) -> File:
    """Describe one member for the manifest."""
    return File(path=path, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def write(path: str | os.PathLike[str], manifest: Manifest, contents: Mapping[str, bytes]) -> Bundle:
    """Write a sealed bundle, whole or not at all, and open it with every check.

    Args:
        path: Where the `.edge` file goes.
        manifest: Its manifest; must declare exactly `contents`.
        contents: Member path to bytes, without the manifest.

    Raises:
        BundleError: When manifest and contents do not agree.
    """
    path = Path(path)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in [(MANIFEST, manifests.encode(manifest)), *contents.items()]:
            archive.writestr(zipfile.ZipInfo(member, _EPOCH), content, zipfile.ZIP_DEFLATED)
        archive.comment = _SEAL + b"0" * 64
    unsealed = buffer.getvalue()[:-64]
    sealed = unsealed + hashlib.sha256(unsealed).hexdigest().encode()
    with zipfile.ZipFile(io.BytesIO(sealed)) as archive:
        _check_members(archive, path)
    write_atomically(path, sealed)
    return Bundle.open(path)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Whatever a damaged archive makes the zip reader raise is a BundleError."""
    try:
        yield
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OverflowError) as error:
        raise BundleError(f"{path} is a damaged zip archive: {error}. Copy it again.") from error


def _check_seal(stream: io.BufferedReader, path: Path) -> str:
    """Check the digest over the whole file; return it."""
    if stream.read(2) != b"PK":
        raise NotABundleError(f"{path} is not a bundle: expected a zip archive. Make one with: edgeward convert")
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - 22 - _SEAL_LENGTH))
    tail = stream.read()
    if _END_OF_DIRECTORY not in tail:
        raise TruncatedBundleError(f"{path} ends after {size} bytes, before its directory. Copy it again.")
    seal = tail[-_SEAL_LENGTH:]
    if not seal.startswith(_SEAL):
        raise DigestError(f"{path} carries no edgeward seal: damaged, or not written by edgeward convert.")
    digest = hashlib.sha256()
    stream.seek(0)
    remaining = size - 64
    while remaining:
        chunk = stream.read(min(_CHUNK, remaining))
        if not chunk:
            raise TruncatedBundleError(f"{path} was cut while it was read. Copy it again.")
        remaining -= len(chunk)
        digest.update(chunk)
    expected, actual = seal[len(_SEAL) :].decode("ascii", "replace"), digest.hexdigest()
    if actual != expected:
        raise DigestError(
            f"{path} was changed after it was written: its bytes hash to {actual[:12]}…, its seal says "
            f"{expected[:12]}…. Copy it again from where it was made."
        )
    return actual


def _check_members(archive: zipfile.ZipFile, path: Path) -> Manifest:
    """Check paths, presence, sizes and digests of all members; return the manifest."""
    names = archive.namelist()
    for name in names:
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\\" in name or ":" in name or name.endswith("/"):
            raise UnsafePathError(f"{path} holds {name!r}, which would leave the bundle's folder. Do not use it.")
        if any(str(parent) in names for parent in pure.parents):
            raise UnsafePathError(f"{path} holds {name!r} and a file where its folder would be. Do not use it.")
    for member in archive.infolist():
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BundleError(
                f"{path} packs {member.filename!r} in a way that bundles do not: neither stored nor deflated."
            )
    if MANIFEST not in names:
        raise MissingFileError(f"{path} holds no {MANIFEST}: it is a zip, but not a bundle.")
    if archive.getinfo(MANIFEST).file_size > _MANIFEST_LIMIT:
        raise OversizeError(f"{path}: {MANIFEST} is larger than {_MANIFEST_LIMIT} bytes.")
    manifest = manifests.decode(archive.read(MANIFEST), str(path))
    declared = {file.path: file for file in manifest.files()}
    for name in names:
        if name != MANIFEST and name not in declared:
            raise UndeclaredFileError(f"{path} holds {name!r}, which its manifest does not declare.")
    if len(names) != len(set(names)):
        raise UndeclaredFileError(f"{path} holds two members of one name.")
    for file in declared.values():
        _read_checked(archive, file, path)
    return manifest


def _read_checked(archive: zipfile.ZipFile, file: File, path: Path) -> bytes:
    """Read one member, never past its declared size, and check its digest."""
    try:
        with archive.open(file.path) as stream:
            content = stream.read(file.size_bytes + 1)
    except KeyError:
        raise MissingFileError(f"{path} declares {file.path!r}, but does not hold it.") from None
    if len(content) > file.size_bytes:
        raise OversizeError(f"{path}: {file.path!r} is larger than the {file.size_bytes} bytes declared.")
    if len(content) < file.size_bytes:
        raise DigestError(f"{path}: {file.path!r} has {len(content)} bytes; {file.size_bytes} were declared.")
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise DigestError(f"{path}: the SHA-256 of {file.path!r} differs from the one declared.")
    return content
