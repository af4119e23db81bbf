"""What is done with a device, over any transport: install, roll back, examine, ask.

The device does the work itself (`python -m edgeward_runtimes`), with its own engines; here its answers are read.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from edgeward_runtimes.bundle import Bundle
from edgeward_runtimes.commands import Examination, Status
from edgeward_runtimes.errors import DeviceError, InstallError
from edgeward_runtimes.install.installer import Installed
from edgeward_targets.transports import Completed, Transport, open_transport

_Answer = TypeVar("_Answer")
_REFUSED = 2  # the device command's exit code for an EdgewardError


class Device:
    """One device, by URL."""

    def __init__(self, url: str, transport: Transport | None = None) -> None:
        """Open the device. Raises DeviceError when the URL is not one."""
        self.url = url
        self._transport = transport or open_transport(url)

    def install(self, bundle_path: Path, accelerators: Iterable[str] = ()) -> Installed:
        """Bring a bundle to the device and have it installed there; `accelerators` are tried before the CPU.

        Raises:
            BundleError: When the bundle is damaged; the device was not touched.
            InstallError: When the device refused it, with its reason; the device is as it was.
            DeviceError: When the device is out of reach.
        """
        with self._brought(Bundle.open(bundle_path)) as remote:
            return self._ask(Installed, "install", remote, *(f"--accelerator={name}" for name in accelerators))

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

    @contextmanager
    def _brought(self, bundle: Bundle) -> Iterator[str]:
        """Have the bundle on the device for a while; yield its path there."""
        remote = f"incoming/{bundle.manifest.name}-{bundle.release_id}.edge"
        self._transport.put(bundle.path, remote)
        try:
            yield self._transport.path(remote)
        finally:
            self._transport.remove(remote)

    def _ask(self, answer: type[_Answer], *command: str) -> _Answer:
        completed = self._transport.run(command)
        if completed.exit_code != 0:
            raise self._refusal(completed)
        try:
            return msgspec.json.decode(completed.stdout, type=answer)
        except msgspec.DecodeError as error:
            raise DeviceError(
                f"{self.url} answered what this edgeward does not understand ({error}). Is it of this version?"
            ) from error

    def _refusal(self, completed: Completed) -> InstallError | DeviceError:
        lines = completed.stderr.decode(errors="replace").strip().splitlines()
        last = lines[-1] if lines else f"exit code {completed.exit_code}"
        if completed.exit_code == _REFUSED:
            return InstallError(f"{self.url}: {last}")
        return DeviceError(f"{self.url} failed: {last}")
