"""Install and roll back, step by step, each step in the journal before the next begins."""

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from edgeward_runtimes import digests
from edgeward_runtimes.bundle import Bundle
from edgeward_runtimes.durable import fsync_folder
from edgeward_runtimes.errors import ConfigError, EdgewardError, InstallError
from edgeward_runtimes.home import Home
from edgeward_runtimes.install import result, selftest
from edgeward_runtimes.install.health import Limits
from edgeward_runtimes.install.journal import Action, Entry, Step
from edgeward_runtimes.install.result import SelfTest
from edgeward_runtimes.install.slots import INCOMING, Slots
from edgeward_runtimes.release import Release

KEPT_RELEASES = 3  # current and previous are always among them
_FEWEST_RELEASES = 2
_SPARE_BYTES = 16 * 2**20


class Installed(Struct, frozen=True):
    """The release that is current now, the one it replaced, and the self-test that let it in."""

    name: str
    release: str
    replaced: str | None
    selftest: SelfTest | None


def install(
    home: Home,
    bundle_path: Path,
    accelerators: tuple[str, ...] = (),
    *,
    keep: int = KEPT_RELEASES,
    health: Limits | None = None,
) -> Installed:
    """Install a bundle on this device and make it the current release.

    Installing the release that is already current only mends files of it that were damaged since.

    Args:
        home: The device.
        bundle_path: The bundle.
        accelerators: What is tried before the CPU.
        keep: Releases that stay here, the current and the previous one among them (at least 2).
        health: For how long, and by which bounds, the agent watches it after going live; None: it does not.

    Raises:
        ConfigError: When fewer releases shall be kept than it takes to go back.
        BundleError: When the bundle is damaged; nothing was written.
        SelfTestError: When no variant works here; the device is as it was.
        InstallError: When the disk is full or read-only, or another install is under way; likewise.
    """
    if keep < _FEWEST_RELEASES:
        raise ConfigError(f"{keep} releases cannot be kept: the current and the previous one make {_FEWEST_RELEASES}.")
    bundle = Bundle.open(bundle_path)
    slots = Slots(home, bundle.manifest.name)
    with _changing(slots, "installed"):
        current = slots.target("current")
        if current == bundle.release_id:
            bundle.mend(slots.current())
            return Installed(slots.name, current, current, result.read(slots.current()))
        found = _Installation(slots, bundle.release_id, current).run(bundle, accelerators, health)
        with contextlib.suppress(OSError):  # they are tried again after the next install
            _retire(slots, keep)
        return Installed(slots.name, bundle.release_id, current, found)


def held(home: Home, name: str, release: str) -> Installed | None:
    """A release, if it is the current one and every byte of it is as it was installed."""
    slots = Slots(home, name)
    if slots.target("current") != release:
        return None
    try:
        folder = slots.current()
        manifest = Release.open(folder).manifest
        is_whole = all(digests.sha256_of((folder / file.path).read_bytes()) == file.sha256 for file in manifest.files())
    except (EdgewardError, OSError):
        return None
    return Installed(name, release, release, result.read(folder)) if is_whole else None


def rollback(home: Home, name: str, *, leaving: str | None = None, reason: str | None = None) -> Installed:
    """Make the previous release current again, and the current one previous.

    Args:
        home: The device.
        name: The model.
        leaving: The release to go back from, when only that one is to be left.
        reason: Why, for the journal.

    Raises:
        NotInstalledError: When the model is not installed.
        InstallError: When there is no previous release, another one than `leaving` is current, or the disk cannot be
            written; the device is as it was.
    """
    slots = Slots(home, name)
    slots.current()
    with _changing(slots, "rolled back"):
        current, previous = slots.target("current"), slots.target("previous")
        if leaving not in (None, current):
            raise InstallError(f"{name} is not at {leaving} any more, so it was not rolled back; current is {current}.")
        if previous is None or not (slots.releases / previous).is_dir():
            raise InstallError(f"{name} has no previous release here to go back to; current is {current}.")
        slots.note(Entry(time.time(), "begin", previous, "rollback", current, previous, reason))
        with _settling(slots, previous, "rollback"):
            _switch(slots, previous, current)
        return Installed(name, previous, current, result.read(slots.releases / previous))


@contextlib.contextmanager
def _changing(slots: Slots, what: str) -> Iterator[None]:
    """Hold the slots' lock; what the disk refuses is an InstallError."""
    try:
        with slots.changing():
            yield
    except OSError as error:
        raise InstallError(
            f"{slots.name} could not be {what} under {slots.folder}: {error.strerror or error}. "
            "The device is as it was."
        ) from error


@contextlib.contextmanager
def _settling(slots: Slots, release: str, action: Action) -> Iterator[None]:
    """After the steps up to the switch: note the end, or put back what failed before the release was current."""
    try:
        yield
    except (EdgewardError, OSError) as error:
        with contextlib.suppress(OSError):  # should even that fail, the next change begins with it
            slots.recover(str(error))
        if slots.target("current") != release:
            raise
    with contextlib.suppress(OSError):  # it is current, whatever the journal still takes: the next change notes it
        for step in ("switched", "done"):
            slots.note(Entry(time.time(), step, release, action))


class _Installation:
    """One install under way."""

    def __init__(self, slots: Slots, release: str, current: str | None) -> None:
        self._slots = slots
        self._release = release
        self._current = current
        self._incoming = slots.releases / f"{INCOMING}{release}"

    def run(self, bundle: Bundle, accelerators: tuple[str, ...], health: Limits | None) -> SelfTest:
        slots, release, current = self._slots, self._release, self._current
        slots.note(Entry(time.time(), "begin", release, "install", current, slots.target("previous"), health=health))
        with _settling(slots, release, "install"):
            found = self._bring(bundle, accelerators)
            _switch(slots, release, current)
        return found

    def _bring(self, bundle: Bundle, accelerators: tuple[str, ...]) -> SelfTest:
        """Unpack, test, and give the folder its final name; an older copy of it is replaced."""
        needed = sum(file.size_bytes for file in bundle.manifest.files()) + _SPARE_BYTES
        free = shutil.disk_usage(self._slots.releases).free
        if free < needed:
            raise InstallError(
                f"{self._slots.name} needs {needed} bytes on {self._slots.releases}, {free} are free. Make room."
            )
        unpacked = bundle.unpack(self._incoming)
        self._note("unpacked")
        found = selftest.run(unpacked, accelerators)
        result.write(self._incoming, found)
        self._note("tested")
        final = self._slots.releases / self._release
        if final.exists() and self._release == self._slots.target("previous"):
            shutil.rmtree(self._incoming)
            bundle.mend(final)  # in its place, as rollback must find it at every instant
            return found
        self._slots.remove(self._release)
        self._incoming.rename(final)
        fsync_folder(self._slots.releases)
        self._note("placed")
        return found

    def _note(self, step: Step) -> None:
        self._slots.note(Entry(time.time(), step, self._release, "install"))


def _switch(slots: Slots, release: str, current: str | None) -> None:
    """Swap the links, `current` last: its rename is what counts. Should we die before, the journal puts both back."""
    if current is not None:
        slots.link("previous", current)
    slots.link("current", release)


def _retire(slots: Slots, keep: int) -> None:
    """Remove the oldest releases beyond those kept."""
    kept = {slots.target("current"), slots.target("previous")}
    folders = sorted(
        (each for each in slots.releases.iterdir() if not each.name.startswith(".") and each.name not in kept),
        key=lambda each: each.stat().st_mtime,
    )
    for folder in folders[: max(0, len(folders) + len(kept) - keep)]:
        slots.remove(folder.name)
