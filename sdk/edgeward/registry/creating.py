"""A new registry: its keys, its root of trust, and the first, empty publication."""

from pathlib import Path

from tuf.api.metadata import Root

from edgeward.registry import keys
from edgeward.registry.keys import OFFLINE, ROLES, Passphrase
from edgeward.registry.repository import LIFETIMES, Lifetimes, Repository, metadata_folder, online_keys, targets_folder
from edgeward_runtimes.durable import make_folder
from edgeward_runtimes.errors import RegistryError


def create(
    folder: Path,
    keys_folder: Path,
    passphrase: Passphrase,
    *,
    threshold: int = 1,
    root_keys: int | None = None,
    lifetimes: Lifetimes = LIFETIMES,
) -> Path:
    """Make a registry in an empty folder; returns the file of its root of trust.

    Args:
        folder: Where the registry goes.
        keys_folder: Where the keys of root and targets go; keep it off the machine that serves.
        passphrase: Encrypts those.
        threshold: How many root keys must sign a new root.
        root_keys: How many there are; by default one more than a threshold above 1, so that one may be lost.
        lifetimes: How long metadata is believed.

    Raises:
        RegistryError: The folder is not empty, or the numbers do not fit.
    """
    count = root_keys if root_keys is not None else threshold + (threshold > 1)
    _check(folder, keys_folder, threshold, count)
    signers = {
        role: [
            keys.create(
                keys_folder if role in OFFLINE else online_keys(folder), role, passphrase if role in OFFLINE else None
            )
            for _ in range(count if role == "root" else 1)
        ]
        for role in ROLES
    }
    root = Root()
    for role, owned in signers.items():
        for signer in owned:
            root.add_key(signer.public_key, role)
    root.roles["root"].threshold = threshold
    make_folder(targets_folder(folder))
    Repository.blank(folder, root).publish("targets", signers, lifetimes, root)
    return metadata_folder(folder) / "1.root.json"


def _check(folder: Path, keys_folder: Path, threshold: int, count: int) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RegistryError(f"{folder} is not empty. A new registry needs a folder of its own.")
    if keys_folder.resolve() == folder.resolve() or folder.resolve() in keys_folder.resolve().parents:
        raise RegistryError(
            f"{keys_folder} lies within the registry. Keep the offline keys elsewhere, best off this machine."
        )
    if not 1 <= threshold <= count:
        raise RegistryError(f"A threshold of {threshold} needs as many root keys or more; {count} were asked for.")
