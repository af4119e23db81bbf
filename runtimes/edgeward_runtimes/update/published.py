"""What a registry lists, read from its verified targets metadata. Pure.

NAME/VERSION-DIGEST8.edge       a release; its `custom` metadata is a `Custom`
NAME/FROM..TO.delta             from one release to another, see `delta`

A version is published once, so versions alone decide what is newer. Other targets are not ours, and passed over.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec
from msgspec import Struct

from edgeward_runtimes.errors import MalformedMetadataError, NotPublishedError, OlderReleaseError
from edgeward_runtimes.manifest import Name, Sha256, Size
from edgeward_runtimes.update.versions import order

BUNDLE_SUFFIX = ".edge"


class Custom(Struct, frozen=True):
    """What is signed of a release beyond its length and digest.

    `digest` is the one that the bundle is sealed with (`release` ends with its beginning), `size` the bytes of its
    members when unpacked, the manifest among them.
    """

    name: Name
    version: Name
    release: str
    digest: Sha256
    size: Size


class Target(Protocol):
    """What we need of tuf's TargetFile."""

    length: int

    @property
    def custom(self) -> object:
        """The `custom` field as JSON has it."""


class Published(Struct, frozen=True):
    """One release in the registry: where it lies, how many bytes to download, and what is signed of it."""

    path: str
    length: int
    custom: Custom

    @property
    def release(self) -> str:
        """`<version>-<digest8>`."""
        return self.custom.release


def releases(targets: Mapping[str, Target]) -> list[Published]:
    """Every release, by name and version. Raises MalformedMetadataError."""
    found = [_published(path, target) for path, target in targets.items() if path.endswith(BUNDLE_SUFFIX)]
    return sorted(found, key=lambda each: (each.custom.name, order(each.custom.version)))


def choose(listed: Iterable[Published], name: str, version: str | None) -> Published:
    """The release of that name and version, or the latest. Raises NotPublishedError that says what there is."""
    of_name = [each for each in listed if each.custom.name == name]
    chosen = [each for each in of_name if version in (None, each.custom.version)]
    if not chosen:
        known = ", ".join(each.custom.version for each in of_name) or "nothing of that name"
        raise NotPublishedError(
            f"The registry has no {name} {version or ''}".rstrip() + f"; it has {known}. Publish it with: "
            "edgeward registry add"
        )
    return chosen[-1]


def check_not_older(wanted: Published, current: str | None) -> None:
    """Refuse a release older than `current`, the installed one's name. Raises OlderReleaseError."""
    installed = current.rpartition("-")[0] if current else ""
    if installed and order(wanted.custom.version) < order(installed):
        raise OlderReleaseError(
            f"{wanted.custom.name} {wanted.custom.version} is older than the installed {installed}, and no registry "
            "may take a device back. To go back to its previous release, ask the device itself: edgeward rollback"
        )


def bundle_path(name: str, release: str) -> str:
    """Where a release lies in the registry."""
    return f"{name}/{release}{BUNDLE_SUFFIX}"


def delta_path(name: str, source: str, target: str) -> str:
    """Where the delta from one release to another lies, if there is one."""
    return f"{name}/{source}..{target}.delta"


def _published(path: str, target: Target) -> Published:
    try:
        custom = msgspec.convert(target.custom, Custom)
    except msgspec.ValidationError as error:
        raise MalformedMetadataError(f"The registry's entry for {path} is not one of edgeward's: {error}.") from error
    expected = f"{custom.version}-{custom.digest[:8]}"
    if custom.release != expected or path != bundle_path(custom.name, expected):
        raise MalformedMetadataError(f"The registry's entry for {path} calls itself {custom.name} {custom.release}.")
    return Published(path, target.length, custom)
