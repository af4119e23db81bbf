"""Add bundles to the registry, each with deltas from the releases before it."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct
from tuf.api.metadata import TargetFile

from edgeward.registry import deltas
from edgeward.registry.keys import Passphrase
from edgeward.registry.refreshing import signers_at_hand
from edgeward.registry.repository import LIFETIMES, Lifetimes, Repository, changing, targets_folder
from edgeward_runtimes.bundle import MANIFEST, Bundle
from edgeward_runtimes.durable import write_atomically
from edgeward_runtimes.errors import RegistryError
from edgeward_runtimes.update import published
from edgeward_runtimes.update.published import Custom, Published
from edgeward_runtimes.update.versions import order

_WORTH_A_DELTA = 0.9  # of the whole file


class Step(Struct, frozen=True):
    """A delta that was made: from which release, and of how many bytes."""

    source: str
    size_bytes: int


class Added(Struct, frozen=True):
    """A bundle in the registry; `is_new` is false when it was there already."""

    name: str
    release: str
    size_bytes: int
    is_new: bool
    deltas: tuple[Step, ...] = ()


def add(
    folder: Path,
    bundles: Sequence[Path],
    keys_folders: Sequence[Path],
    passphrase: Passphrase,
    *,
    previous: int = 3,
    lifetimes: Lifetimes = LIFETIMES,
) -> tuple[Added, ...]:
    """Publish bundles, all of them or none.

    Args:
        folder: The registry.
        bundles: `.edge` files.
        keys_folders: Where the targets key is.
        passphrase: Opens it.
        previous: From how many releases before it each bundle gets a delta.
        lifetimes: How long the new metadata is believed.

    Raises:
        BundleError: A bundle is damaged.
        RegistryError: Its version is published with other content, or the key is missing; nothing was published.
    """
    opened = [Bundle.open(path) for path in bundles]
    with changing(folder):
        repository = Repository.open(folder)
        signers = signers_at_hand(repository, keys_folders, passphrase, {"targets"})
        added = tuple(_add(repository, bundle, previous) for bundle in opened)
        if any(each.is_new for each in added):
            repository.publish("targets", signers, lifetimes)
    return added


def _add(repository: Repository, bundle: Bundle, previous: int) -> Added:
    manifest, targets = bundle.manifest, repository.targets.signed.targets
    path = published.bundle_path(manifest.name, bundle.release_id)
    if path in targets:
        return Added(manifest.name, bundle.release_id, targets[path].length, is_new=False)
    of_name = [each for each in published.releases(targets) if each.custom.name == manifest.name]
    _check_version(bundle, of_name)
    before = [each for each in of_name if order(each.custom.version) < order(manifest.version)][
        -previous or len(of_name) :
    ]
    size = sum(file.size_bytes for file in manifest.files()) + len(bundle.read(MANIFEST))
    custom = Custom(manifest.name, manifest.version, bundle.release_id, bundle.digest, size)
    content = bundle.path.read_bytes()
    steps = tuple(step for each in reversed(before) if (step := _add_delta(repository, each, bundle)) is not None)
    _put(repository, path, content, custom)
    return Added(manifest.name, bundle.release_id, len(content), is_new=True, deltas=steps)


def _check_version(bundle: Bundle, of_name: Sequence[Published]) -> None:
    version = bundle.manifest.version
    for each in of_name:
        if order(each.custom.version) == order(version):
            raise RegistryError(
                f"{bundle.manifest.name} {version} is published already with other content ({each.release}). A version "
                "stands for one release: convert again with a new --version. Nothing was published."
            )


def _add_delta(repository: Repository, source: Published, bundle: Bundle) -> Step | None:
    """Make and keep a delta, if it is worth it."""
    old = Bundle.open(stored(repository, source.path))
    content = deltas.make(old, bundle)
    if len(content) > _WORTH_A_DELTA * bundle.path.stat().st_size:
        return None
    _put(repository, published.delta_path(bundle.manifest.name, source.release, bundle.release_id), content, None)
    return Step(source.release, len(content))


def _put(repository: Repository, path: str, content: bytes, custom: Custom | None) -> None:
    """Keep a target's file, and list it in the targets that are to be signed."""
    target = TargetFile.from_data(path, content, ["sha256"])
    if custom is not None:
        target.unrecognized_fields["custom"] = msgspec.to_builtins(custom)
    repository.targets.signed.targets[path] = target
    place = stored(repository, path)
    write_atomically(place, content)


def stored(repository: Repository, path: str) -> Path:
    """Where the file of a target lies: its name begins with its digest (TUF specification, section 6.2)."""
    digest = repository.targets.signed.targets[path].hashes["sha256"]
    folder, _, name = path.rpartition("/")
    return targets_folder(repository.folder) / folder / f"{digest}.{name}"
