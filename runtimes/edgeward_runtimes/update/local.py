"""Installs from a file, on a device that trusts a registry: what nobody signed is refused."""

from pathlib import Path

from edgeward_runtimes.digests import sha256
from edgeward_runtimes.errors import UnsignedError
from edgeward_runtimes.home import Home
from edgeward_runtimes.update.noting import noting
from edgeward_runtimes.update.published import Published

_CHUNK = 2**20


def is_required(home: Home) -> bool:
    """Whether this device installs what is signed alone: it has a root of trust."""
    return (home.root / "trust" / "root.json").exists()


def verify(bundle_path: Path, metadata_folder: Path | None, home: Home) -> Published:
    """Prove that a bundle is a signed release of the registry that this device trusts.

    Args:
        bundle_path: The file.
        metadata_folder: A copy of the registry's `metadata` folder, no older than its timestamp's life. None: what
            this device verified last, as just after a download.
        home: The device.

    Raises:
        UnsignedError: The registry signed no such file.
        UpdateError: The metadata itself is refused; the class says why.
    """
    from edgeward_runtimes.update.client import beside

    with noting(bundle_path.name):
        registry, digest = beside(home, metadata_folder), _digest(bundle_path)
        for release in registry.releases:
            if registry.digest(release.path) == digest and registry.is_signed(release.path, bundle_path):
                return release
        raise UnsignedError(
            f"{bundle_path} is signed by nobody whom this device trusts: no release of its registry has the digest "
            f"{digest[:12]}…. Publish it with: edgeward registry add"
        )


def _digest(path: Path) -> str:
    hashing = sha256(path.stat().st_size)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            hashing.update(chunk)
    return hashing.hexdigest()
