"""Renew what expires: timestamp and snapshot by the machine that holds their keys, targets with the offline key."""

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from msgspec import Struct
from tuf.api.metadata import Metadata, Root

from edgeward.registry import keys
from edgeward.registry.keys import ROLES, Passphrase
from edgeward.registry.repository import LIFETIMES, Lifetimes, Repository, Signers, changing, online_keys


class Refreshed(Struct, frozen=True):
    """What was renewed, and when each role's metadata expires now."""

    renewed: tuple[str, ...]
    expires: dict[str, datetime]


def refresh(
    folder: Path,
    keys_folders: Sequence[Path] = (),
    passphrase: Passphrase | None = None,
    lifetimes: Lifetimes = LIFETIMES,
    *,
    only_when_due: bool = False,
) -> Refreshed:
    """Publish a new timestamp; the snapshot, the targets and the root too when half of their life is over.

    Targets and root are renewed only when `keys_folders` name their keys' places.

    Args:
        folder: The registry.
        keys_folders: Where offline keys are.
        passphrase: Opens those.
        lifetimes: How long the new metadata is believed.
        only_when_due: Leave a timestamp that has half of its life ahead; for a service that asks often.

    Raises:
        RegistryError: It is no registry, or keys are missing.
    """
    with changing(folder):
        repository = Repository.open(folder)
        due = _due(repository, lifetimes)
        if not keys_folders:
            due -= {"root", "targets"}
        if not only_when_due:
            due.add("timestamp")
        if due:
            _renew(repository, due, signers_at_hand(repository, keys_folders, passphrase, due), lifetimes)
        expires = {role: getattr(repository, role).signed.expires for role in ROLES}
        return Refreshed(tuple(role for role in ROLES if role in due), expires)


def signers_at_hand(
    repository: Repository, keys_folders: Sequence[Path], passphrase: Passphrase | None, roles: set[str]
) -> Signers:
    """The keys that may sign for these roles, and for those that vouch for them."""
    root = repository.root.signed
    online = [online_keys(repository.folder)]
    offline = {role: keys.load(keys_folders, role, root, passphrase) for role in keys.OFFLINE if role in roles}
    return offline | {role: keys.load(online, role, root, None) for role in keys.ONLINE}


def _renew(repository: Repository, due: set[str], signers: Signers, lifetimes: Lifetimes) -> None:
    first = next((role for role in ("targets", "snapshot", "timestamp") if role in due), "root")
    repository.publish(first, signers, lifetimes, next_root(repository) if "root" in due else None)


def next_root(repository: Repository) -> Root:
    """A copy of the current root, one version on."""
    root = Metadata[Root].from_bytes(repository.root.to_bytes()).signed
    root.version += 1
    return root


def _due(repository: Repository, lifetimes: Lifetimes) -> set[str]:
    now = datetime.now(timezone.utc)

    def is_due(role: str) -> bool:
        document: Metadata[Any] = getattr(repository, role)
        return bool(document.signed.expires - now < lifetimes.of(role) / 2)

    return {role for role in ROLES if is_due(role)}
