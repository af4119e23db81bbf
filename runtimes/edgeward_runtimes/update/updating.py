"""Fetch a release from the registry, by delta where there is one, and install it.

Every byte that reaches the installer is one that the registry's targets role has signed: a delta's result is held to
the same digest as the whole file, and so is what the installer opens.
"""

import contextlib
import fcntl
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgeward_runtimes.errors import DeltaError, InstallError, UpdateError
from edgeward_runtimes.home import Home
from edgeward_runtimes.install import installer
from edgeward_runtimes.install.installer import Installed
from edgeward_runtimes.install.slots import Slots
from edgeward_runtimes.release import check_name
from edgeward_runtimes.update import delta, published
from edgeward_runtimes.update.noting import noting
from edgeward_runtimes.update.pace import Limits
from edgeward_runtimes.update.published import Published

if TYPE_CHECKING:
    from edgeward_runtimes.update.client import Client

_log = logging.getLogger("edgeward.update")
Install = Callable[[Home, Path], Installed]
_LOCK = ".lock"
_SPARE_BYTES = 16 * 2**20


def install_from_registry(
    home: Home,
    name: str,
    version: str | None = None,
    registry_url: str | None = None,
    limits: Limits | None = None,
    install: Install = installer.install,
) -> Installed:
    """Bring a model to a version of it in the registry; nothing is fetched when it is that already.

    Args:
        home: The device.
        name: The model.
        version: Which one, by default the latest; never one older than the installed.
        registry_url: Where; by default the address of the enrollment.
        limits: What the download is held to, its bandwidth among it.
        install: What installs the proved bundle, with settings of its own where `functools.partial` gave it some.

    Raises:
        UpdateError: It is refused, or cannot be fetched; nothing was installed.
        BundleError, InstallError: As `installer.install`.
    """
    with noting(f"an update of {name}"), _downloading(home, name) as downloads:
        registry, wanted = _find(home, name, version, registry_url, downloads, limits)
        held = installer.held(home, name, wanted.release)
        if held is not None:
            return held
        bundle = _bring(registry, downloads, Slots(home, name), wanted)
        try:
            return install(home, bundle)
        finally:
            bundle.unlink(missing_ok=True)


def fetch(
    home: Home, name: str, version: str | None = None, registry_url: str | None = None, limits: Limits | None = None
) -> Path:
    """Download the bundle of a release, proved, without installing it. Raises UpdateError."""
    with noting(f"an update of {name}"), _downloading(home, name) as downloads:
        registry, wanted = _find(home, name, version, registry_url, downloads, limits)
        return _bring(registry, downloads, Slots(home, name), wanted)


@contextlib.contextmanager
def _downloading(home: Home, name: str) -> Iterator[Path]:
    """The model's folder of downloads, which one process at a time uses. Raises InstallError, NotInstalledError."""
    check_name(name)
    folder = home.root / "downloads" / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InstallError(f"{name} is being updated by another process. Try again later.") from None
        yield folder


def _find(
    home: Home, name: str, version: str | None, url: str | None, downloads: Path, limits: Limits | None
) -> tuple["Client", Published]:
    """The registry, and the release in it that is wanted. Raises UpdateError."""
    from edgeward_runtimes.update.client import online  # python-tuf takes a quarter of a second

    registry = online(home, url, downloads, limits or Limits())
    return registry, published.choose(registry.releases, name, version)


def _bring(registry: "Client", downloads: Path, slots: Slots, wanted: Published) -> Path:
    """The wanted bundle in the downloads folder, whichever way was the shorter."""
    current = slots.target("current")
    published.check_not_older(wanted, current)
    place = downloads / f"{wanted.custom.name}-{wanted.release}.edge"
    _make_room(downloads, wanted)
    step = published.delta_path(slots.name, current, wanted.release) if current else ""
    if registry.lists(step) and not registry.is_signed(wanted.path, place):
        try:
            _patch(registry, step, slots.current(), wanted, place)
            return place
        except UpdateError as error:
            _log.info("%s: %s; fetching the whole of it", step, error)
    registry.download(wanted.path, place)
    return place


def _make_room(downloads: Path, wanted: Published) -> None:
    """Remove what was meant for other releases. Raises InstallError when the disk still has too little room."""
    for leftover in downloads.iterdir():
        if wanted.release not in leftover.name and leftover.name != _LOCK:
            leftover.unlink(missing_ok=True)
    needed, free = 2 * wanted.length + _SPARE_BYTES, shutil.disk_usage(downloads).free
    if free < needed:
        raise InstallError(f"{wanted.path} needs {needed} bytes in {downloads}, {free} are free. Make room.")


def _patch(registry: "Client", step: str, installed: Path, wanted: Published, place: Path) -> None:
    """Fetch the delta and apply it. Raises UpdateError; then nothing is left at `place`."""
    patch = place.with_suffix(".delta")
    try:
        registry.download(step, patch)
        with place.open("wb") as out:
            delta.apply(patch.read_bytes(), installed, wanted, out)
        if not registry.is_signed(wanted.path, place):
            raise DeltaError("It leads to other bytes than those that were signed.")
    except BaseException:
        place.unlink(missing_ok=True)
        raise
    finally:
        patch.unlink(missing_ok=True)
