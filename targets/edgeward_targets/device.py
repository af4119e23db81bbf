"""What is done with a device, over any transport: install, roll back, examine, ask.

The device does the work itself (`python -m edgeward_runtimes`), with its own engines; here its answers are read.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from edgeward_runtimes.bundle import Bundle
from edgeward_runtimes.commands import Examination, Held, History, Status
from edgeward_runtimes.errors import DeviceError, InstallError
from edgeward_runtimes.install.health import Limits
from edgeward_runtimes.install.installer import KEPT_RELEASES, Installed
from edgeward_runtimes.install.journal import Change
from edgeward_targets.transports import Completed, Transport, open_transport

# Told of an install's progress: what is being done, and how much of it (0 to 1).
Progress = Callable[[str, float], None]
_Answer = TypeVar("_Answer")
_REFUSED = 2  # the device command's exit code for an EdgewardError


class Terms(Struct, frozen=True):
    """How a release is installed.

    Attributes:
        accelerators: What is tried before the CPU.
        keep: Releases that stay on the device, the current and the previous one among them (at least 2).
        health: For how long, and by which bounds, it is watched after going live; None: it is not.
        metadata: The `metadata` folder of the registry that has the release, for a device that takes no other.
    """

    accelerators: tuple[str, ...] = ()
    keep: int = KEPT_RELEASES
    health: Limits | None = None
    metadata: Path | None = None

    @property
    def arguments(self) -> list[str]:
        """As the device's `install` takes them."""
        told = [f"--accelerator={name}" for name in self.accelerators] + [f"--keep={self.keep}"]
        return told if self.health is None else [*told, f"--health={self.health}"]


class Device:
    """One device, by URL. Close it, or use it as a context, to hang up."""

    def __init__(self, url: str, transport: Transport | None = None) -> None:
        """Name the device. Raises DeviceError when the URL is not one."""
        self.url = url
        self.transport = transport or open_transport(url)

    def __enter__(self) -> "Device":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self.transport.close()

    def install(
        self,
        bundle_path: Path,
        accelerators: Iterable[str] = (),
        *,
        terms: Terms | None = None,
        progress: Progress = lambda doing, done: None,
    ) -> Installed:
        """Bring a bundle to the device and have it installed there, tested by its own engines.

        What is current there and whole is not sent again.

        Args:
            bundle_path: The bundle.
            accelerators: What is tried before the CPU, when `terms` do not say it.
            terms: How it is installed.
            progress: Told how far it is.

        Raises:
            BundleError: When the bundle is damaged; the device was not touched.
            InstallError: When the device refused it, with its reason; the device is as it was.
            DeviceError: When the device is out of reach; what arrived of the bundle need not be sent again.
        """
        terms = terms or Terms(tuple(accelerators))
        bundle = Bundle.open(bundle_path)
        progress("connecting", 0)
        installed = self._ask(Held, "held", bundle.manifest.name, bundle.release_id).installed
        if installed is None:
            with self._brought(bundle, progress) as remote:
                proof = [] if terms.metadata is None else [f"--metadata={self._bring_metadata(terms.metadata)}"]
                progress("testing on the device", 1)
                installed = self._ask(Installed, "install", remote, *terms.arguments, *proof)
        progress("installed", 1)
        return installed

    def examine(self, bundle_path: Path) -> Examination:
        """Prove and time every variant of a bundle on the device, without installing it."""
        with self._brought(Bundle.open(bundle_path)) as remote:
            return self._ask(Examination, "examine", remote)

    def rollback(self, name: str) -> Installed:
        """Go back to a model's previous release."""
        return self._ask(Installed, "rollback", name)

    def status(self) -> Status:
        """Say what is installed there."""
        return self._ask(Status, "status")

    def history(self, name: str) -> tuple[Change, ...]:
        """What was done to a model there, the latest last."""
        return self._ask(History, "journal", name).changes

    @contextmanager
    def _brought(self, bundle: Bundle, progress: Progress = lambda doing, done: None) -> Iterator[str]:
        """Have the bundle on the device for a while; yield its path there. It stays when the line breaks."""
        remote = f"{self.transport.place.home}/incoming/{bundle.manifest.name}-{bundle.release_id}.edge"
        self.transport.put(bundle.path, remote, lambda there, total: progress("sending", there / max(1, total)))
        try:
            yield remote
        except DeviceError:
            raise
        except BaseException:
            self.transport.remove(remote)
            raise
        self.transport.remove(remote)

    def _bring_metadata(self, folder: Path) -> str:
        """Bring a registry's metadata to the device, what changed of it; return the folder there."""
        remote = f"{self.transport.place.home}/incoming/metadata"
        for path in sorted(folder.glob("*.json")):
            self.transport.put(path, f"{remote}/{path.name}")
        return remote

    def _ask(self, answer: type[_Answer], *command: str) -> _Answer:
        place = self.transport.place
        completed = self.transport.run([place.python, "-m", "edgeward_runtimes", *command], place.environment)
        if completed.exit_code != 0:
            raise self._refusal(completed)
        try:
            return msgspec.json.decode(completed.stdout, type=answer)
        except msgspec.DecodeError as error:
            raise DeviceError(
                f"{self.url} answered what this edgeward does not understand ({error}). Is it of this version? "
                f"Bring it there with: edgeward provision {self.url}"
            ) from error

    def _refusal(self, completed: Completed) -> InstallError | DeviceError:
        lines = completed.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {completed.exit_code}"]
        last = lines[-1]
        if completed.exit_code == _REFUSED and not lines[0].startswith("usage:"):
            return InstallError(f"{self.url}: {last}")
        if "No module named" in last or "not found" in last or "No such file" in last:
            return DeviceError(
                f"{self.url} has no edgeward ({last}). Bring it there with: edgeward provision {self.url}"
            )
        return DeviceError(f"{self.url} failed: {last}")
