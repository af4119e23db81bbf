"""New keys for a role; the old ones are revoked.

What the role has signed is signed again, by the old key as well while that is at hand, so that no client is turned
away in between. The files of revoked keys stay where they are; nothing trusts them any more, and they can be deleted.
"""

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root

from edgeward.registry import keys
from edgeward.registry.keys import OFFLINE, ROLES, Passphrase
from edgeward.registry.refreshing import next_root, signers_at_hand
from edgeward.registry.repository import LIFETIMES, Lifetimes, Repository, changing, online_keys
from edgeward_runtimes.errors import RegistryError


class Rotated(Struct, frozen=True):
    """A role's keys before and now, by identifier, and the root that says so."""

    role: str
    revoked: tuple[str, ...]
    keys: tuple[str, ...]
    threshold: int
    root_version: int


def rotate(
    folder: Path,
    role: str,
    keys_folders: Sequence[Path],
    passphrase: Passphrase,
    *,
    threshold: int | None = None,
    count: int | None = None,
    lifetimes: Lifetimes = LIFETIMES,
) -> Rotated:
    """Give a role new keys, as many as before unless told otherwise.

    Args:
        folder: The registry.
        role: root, targets, snapshot or timestamp.
        keys_folders: Where the offline keys are; new ones go into the first.
        passphrase: Opens and encrypts those.
        threshold: How many of the new keys must sign; as before by default.
        count: How many there are.
        lifetimes: How long the new metadata is believed.

    Raises:
        RegistryError: No such role, numbers that do not fit, or too few root keys at hand; nothing was published.
    """
    if role not in ROLES:
        raise RegistryError(f"There is no role {role!r}; the roles are {', '.join(ROLES)}.")
    with changing(folder):
        repository = Repository.open(folder)
        root = next_root(repository)
        revoked = tuple(root.roles[role].keyids)
        root.roles[role].threshold = threshold or root.roles[role].threshold
        wanted = count or max(len(revoked), root.roles[role].threshold)
        if wanted < root.roles[role].threshold:
            raise RegistryError(
                f"A threshold of {root.roles[role].threshold} needs as many keys or more, not {wanted}."
            )
        signers = {
            each: list(owned)
            for each, owned in signers_at_hand(repository, keys_folders, passphrase, {"root", role}).items()
        }
        place = keys_folders[0] if role in OFFLINE else online_keys(folder)
        made = [keys.create(place, role, passphrase if role in OFFLINE else None) for _ in range(wanted)]
        _replace(root, role, revoked, made)
        signers[role] += made
        repository.publish(role, signers, lifetimes, root)
    return Rotated(role, revoked, tuple(root.roles[role].keyids), root.roles[role].threshold, root.version)


def _replace(root: Root, role: str, revoked: tuple[str, ...], made: Sequence[CryptoSigner]) -> None:
    for keyid in revoked:
        root.revoke_key(keyid, role)
    for signer in made:
        root.add_key(signer.public_key, role)
