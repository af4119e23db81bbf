"""The registry's metadata: opened, changed, signed, and published so that no client ever sees half of a change.

Rules kept here:

- New files have names of their own (consistent snapshots), so writing them changes nothing for anybody. One rename, of
  timestamp.json, makes them current; a new root follows, and what it changes is signed by the old key as well while
  that is at hand, so that clients before and after both accept it.
- Nothing is written unless every role has the signatures that its threshold asks for.
- One process at a time changes a registry.
"""

import contextlib
import fcntl
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from msgspec import Struct
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from edgeward_runtimes.durable import make_folder, write_atomically
from edgeward_runtimes.errors import RegistryError, one_line

Signers = Mapping[str, Sequence[CryptoSigner]]


class Lifetimes(Struct, frozen=True):
    """For how long each role's metadata is believed."""

    root: timedelta = timedelta(days=365)
    targets: timedelta = timedelta(days=90)
    snapshot: timedelta = timedelta(days=7)
    timestamp: timedelta = timedelta(days=1)

    def of(self, role: str) -> timedelta:
        """That of one role."""
        lifetime: timedelta = getattr(self, role)
        return lifetime


LIFETIMES = Lifetimes()


class Repository:
    """A registry's folder and its current metadata."""

    def __init__(
        self,
        folder: Path,
        root: Metadata[Root],
        targets: Metadata[Targets],
        snapshot: Metadata[Snapshot],
        timestamp: Metadata[Timestamp],
    ) -> None:
        self.folder = folder
        self.root, self.targets, self.snapshot, self.timestamp = root, targets, snapshot, timestamp

    @classmethod
    def blank(cls, folder: Path, root: Root) -> "Repository":
        """A new one, before its first publication."""
        return cls(folder, Metadata(root), Metadata(Targets()), Metadata(Snapshot()), Metadata(Timestamp()))

    @classmethod
    def open(cls, folder: Path) -> "Repository":
        """Read the current metadata. Raises RegistryError when there is none, or it is damaged."""
        place = metadata_folder(folder)
        try:
            root = Metadata[Root].from_bytes(latest_root(folder))
            timestamp = Metadata[Timestamp].from_bytes((place / "timestamp.json").read_bytes())
            version = timestamp.signed.snapshot_meta.version
            snapshot = Metadata[Snapshot].from_bytes((place / f"{version}.snapshot.json").read_bytes())
            version = snapshot.signed.meta["targets.json"].version
            targets = Metadata[Targets].from_bytes((place / f"{version}.targets.json").read_bytes())
        except (OSError, KeyError, RepositoryError) as error:
            raise RegistryError(
                f"{folder} is no registry, or a damaged one: {one_line(error)}. Make one with: edgeward registry init"
            ) from error
        return cls(folder, root, targets, snapshot, timestamp)

    def publish(self, changed: str, signers: Signers, lifetimes: Lifetimes, new_root: Root | None = None) -> None:
        """Give a role and those that vouch for it new versions, and publish them; at last `new_root`, if there is one.

        Args:
            changed: "targets", "snapshot", "timestamp", or "root" for `new_root` alone.
            signers: The keys at hand, by role; more than needed do no harm.
            lifetimes: For how long the new versions are believed.
            new_root: A root of the next version, to be signed.

        Raises:
            RegistryError: Keys are missing; nothing was written.
        """
        chain = ("targets", "snapshot", "timestamp")
        renewed = chain[chain.index(changed) :] if changed in chain else ()
        trusted = new_root or self.root.signed
        files: list[tuple[str, bytes]] = []
        for role in renewed:
            document: Metadata[Any] = getattr(self, role)
            self._vouch(role, files)
            content = _sign(document, role, trusted, signers, lifetimes)
            files.append((_file_name(role, document.signed.version), content))
        if new_root is not None:
            files.append(self._next_root(new_root, signers, lifetimes))
        make_folder(metadata_folder(self.folder))
        for name, content in files:
            write_atomically(metadata_folder(self.folder) / name, content)

    def _vouch(self, role: str, files: Sequence[tuple[str, bytes]]) -> None:
        """Let a role's metadata name the file that was made just before it."""
        if not files:
            return
        content = files[-1][1]
        if role == "snapshot":
            version = self.targets.signed.version
            self.snapshot.signed.meta["targets.json"] = MetaFile.from_data(version, content, ["sha256"])
        elif role == "timestamp":
            self.timestamp.signed.snapshot_meta = MetaFile.from_data(self.snapshot.signed.version, content, ["sha256"])

    def _next_root(self, new: Root, signers: Signers, lifetimes: Lifetimes) -> tuple[str, bytes]:
        before, document = self.root.signed, Metadata(new)
        content = _sign(document, "root", new, signers, lifetimes)
        if before is not new:
            _check_signed(document, "root", before)
        self.root = document
        return _file_name("root", new.version), content


def _file_name(role: str, version: int) -> str:
    """A metadata file's name: with its version, but for the timestamp, which clients look for (TUF, section 6.2)."""
    return "timestamp.json" if role == "timestamp" else f"{version}.{role}.json"


def public_folder(folder: Path) -> Path:
    """What is served."""
    return folder / "public"


def metadata_folder(folder: Path) -> Path:
    """The metadata within what is served."""
    return public_folder(folder) / "metadata"


def targets_folder(folder: Path) -> Path:
    """Bundles and deltas within what is served."""
    return public_folder(folder) / "targets"


def online_keys(folder: Path) -> Path:
    """The keys that renew snapshot and timestamp."""
    return folder / "online-keys"


def latest_root(folder: Path) -> bytes:
    """The newest root's file: what an enrollment gives to devices. Raises RegistryError."""
    roots = list(metadata_folder(folder).glob("*.root.json"))
    if not roots:
        raise RegistryError(f"{folder} is no registry: it has no root. Make one with: edgeward registry init {folder}")
    return max(roots, key=lambda path: int(path.name.partition(".")[0])).read_bytes()


@contextlib.contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Wait for whoever changes the registry, then keep others waiting. Raises RegistryError when it is none."""
    if not metadata_folder(folder).is_dir():
        raise RegistryError(f"{folder} is no registry. Make one with: edgeward registry init {folder}")
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sign(document: Metadata[Any], role: str, root: Root, signers: Signers, lifetimes: Lifetimes) -> bytes:
    """A new version of a role's metadata, dated and signed by every key at hand."""
    document.signed.expires = datetime.now(timezone.utc) + lifetimes.of(role)
    if document.signatures:  # it was published before
        document.signed.version += 1
        document.signatures.clear()
    for signer in signers.get(role, ()):
        document.sign(signer, append=True)
    _check_signed(document, role, root)
    return document.to_bytes()


def _check_signed(document: Metadata[Any], role: str, root: Root) -> None:
    try:
        root.verify_delegate(role, document.signed_bytes, document.signatures)
    except UnsignedMetadataError as error:
        wanted = root.roles[role]
        keys = ", ".join(f"{role}-{keyid[:8]}.pem" for keyid in wanted.keyids)
        raise RegistryError(
            f"The {role} metadata needs {wanted.threshold} of the keys {keys}, and too few of them are at hand. Name "
            "the folders that hold them with --keys. Nothing was published."
        ) from error
