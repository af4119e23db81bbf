"""Transports: the way to a device, picked by the scheme of its URL.

A transport runs commands and moves files; what is done with a device by these means is written once, in
`edgeward_targets.device`. Today there is `local:DIR`, a device that lies in a folder of this machine.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from edgeward_runtimes.errors import DeviceError


class Completed(Struct, frozen=True):
    """A command that ended."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class FileStat(Struct, frozen=True):
    """A file on the device."""

    size_bytes: int
    sha256: str


class Transport(Protocol):
    """The way to one device. Remote paths are relative to the device's own folder for edgeward."""

    def run(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Completed:
        """Run `python -m edgeward_runtimes COMMAND` on the device. Raises DeviceError when it is out of reach."""
        ...

    def put(self, local: Path, remote: str) -> None:
        """Copy a file to the device, whole or not at all."""
        ...

    def get(self, remote: str, local: Path) -> None:
        """Copy a file from the device, whole or not at all."""
        ...

    def stat(self, remote: str) -> FileStat | None:
        """Size and digest of a file on the device, or None when there is none."""
        ...

    def path(self, remote: str) -> str:
        """How the device itself calls that path, for use in commands."""
        ...

    def remove(self, remote: str) -> None:
        """Remove a file from the device, if it is there."""
        ...


def open_transport(url: str) -> Transport:
    """Open the transport that a device URL names. Raises DeviceError for an unknown scheme."""
    scheme, _, rest = url.partition(":")
    if scheme == "local" and rest:
        from edgeward_targets.transports.local import LocalTransport

        return LocalTransport(Path(rest).expanduser())
    raise DeviceError(f"{url!r} is not a device URL that edgeward can reach; it can reach local:DIR.")
