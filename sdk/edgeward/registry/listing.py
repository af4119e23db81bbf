"""What a registry holds, and whether a device would believe it."""

import tempfile
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from edgeward.registry.adding import stored
from edgeward.registry.keys import ROLES
from edgeward.registry.repository import Repository, metadata_folder
from edgeward_runtimes.errors import RegistryError
from edgeward_runtimes.home import Home
from edgeward_runtimes.update import published
from edgeward_runtimes.update.client import Client, Trust, beside


class Role(Struct, frozen=True):
    """A role's metadata: its version, when it expires, its keys and how many of them must sign."""

    role: str
    version: int
    expires: datetime
    threshold: int
    keys: tuple[str, ...]


class Release(Struct, frozen=True):
    """A release that can be fetched, and from which releases by delta, with its bytes."""

    name: str
    version: str
    release: str
    size_bytes: int
    deltas: dict[str, int]


class Listing(Struct, frozen=True):
    """The whole registry."""

    roles: tuple[Role, ...]
    releases: tuple[Release, ...]


def listing(folder: Path) -> Listing:
    """What a registry holds, as it says. Raises RegistryError."""
    repository = Repository.open(folder)
    targets = repository.targets.signed.targets
    releases = []
    for each in published.releases(targets):
        begin, end = f"{each.custom.name}/", f"..{each.release}.delta"
        deltas = {
            path[len(begin) : -len(end)]: target.length
            for path, target in targets.items()
            if path.startswith(begin) and path.endswith(end)
        }
        releases.append(Release(each.custom.name, each.custom.version, each.release, each.length, deltas))
    return Listing(tuple(_role(repository, role) for role in ROLES), tuple(releases))


def verify(folder: Path) -> Listing:
    """Look at a registry as a device that trusts its first root does: every signature, date, length and digest.

    Raises:
        UpdateError: A device would refuse its metadata; the class says why.
        RegistryError: A bundle or a delta is missing or was changed.
    """
    repository = Repository.open(folder)
    with tempfile.TemporaryDirectory() as place:
        home = Home.under(Path(place))
        trust = Trust(home)
        trust.folder.mkdir()
        trust.root.write_bytes((metadata_folder(folder) / "1.root.json").read_bytes())
        _check_targets(repository, beside(home, metadata_folder(folder)))
    return listing(folder)


def _check_targets(repository: Repository, client: Client) -> None:
    for path in repository.targets.signed.targets:
        if not client.lists(path) or not client.is_signed(path, stored(repository, path)):
            raise RegistryError(
                f"{stored(repository, path)} is missing or is not the file that was signed. Put it back."
            )


def _role(repository: Repository, role: str) -> Role:
    signed, trusted = getattr(repository, role).signed, repository.root.signed.roles[role]
    return Role(role, signed.version, signed.expires, trusted.threshold, tuple(trusted.keyids))
