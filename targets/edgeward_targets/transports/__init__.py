"""Transports: the way to a device, picked by the scheme of its URL.

    local:DIR                                  a device that lies in a folder of this machine
    ssh://[user@]host[:port][?options]         see `address` for the options
    adb://serial[?home=DIR&python=PROGRAM]     an Android device, through this machine's adb server

A transport runs programs and moves files; what is done with a device by these means is written once, in
`edgeward_targets.device`. A command is a list of arguments from here to the device: it never passes through a shell
that would look into it. Files arrive whole, checked by digest, and readable by their owner alone.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from edgeward_runtimes.errors import DeviceError

# Told while a file travels: bytes that are there, bytes in all.
Sending = Callable[[int, int], None]


class Completed(Struct, frozen=True):
    """A program that ended."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class FileStat(Struct, frozen=True):
    """A file on the device."""

    size_bytes: int
    sha256: str


class Place(Struct, frozen=True):
    """Where edgeward is on a device: its folder, the Python that has it, and the environment that its commands need."""

    home: str
    python: str
    environment: dict[str, str] = {}


class Transport(Protocol):
    """The way to one device. Remote paths are absolute, or relative to `place.home`."""

    @property
    def place(self) -> Place:
        """Where edgeward is there. Raises DeviceError when the device is out of reach."""
        ...

    def run(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Completed:
        """Run a program on the device, from its root folder. Raises DeviceError when it is out of reach."""
        ...

    def put(self, local: Path, remote: str, sending: Sending | None = None) -> int:
        """Copy a file to the device, whole or not at all; return how many bytes had to travel.

        A file that is there already is not sent, and one that was begun is continued. Raises DeviceError.
        """
        ...

    def get(self, remote: str, local: Path) -> None:
        """Copy a file from the device, whole or not at all. Raises DeviceError."""
        ...

    def stat(self, remote: str) -> FileStat | None:
        """Size and digest of a file on the device, or None when there is none. Raises DeviceError."""
        ...

    def remove(self, remote: str) -> None:
        """Remove a file from the device, if it is there. Raises DeviceError."""
        ...

    def close(self) -> None:
        """Hang up."""
        ...


def open_transport(url: str) -> Transport:
    """Open the transport that a device URL names; nothing is connected yet. Raises DeviceError for a wrong URL."""
    scheme, _, rest = url.partition(":")
    if scheme == "local" and rest:
        from edgeward_targets.transports.local import LocalTransport

        return LocalTransport(Path(rest).expanduser())
    if scheme == "ssh":
        from edgeward_targets.transports import address
        from edgeward_targets.transports.ssh import SshTransport

        return SshTransport(url, address.parse(url))
    if scheme == "adb":
        from edgeward_targets.transports.adb import AdbTransport

        return AdbTransport(url)
    raise DeviceError(
        f"{url!r} is not a device URL that edgeward can reach; it can reach local:DIR, ssh://[user@]host[:port] and "
        "adb://serial."
    )
