"""Is it the host that we think? Its key is looked up in known_hosts, and one that is not there is never taken.

The refusal shows the fingerprint to compare with the one on the device, and the command that adds exactly this key.
"""

import shlex
from pathlib import Path

import asyncssh

from edgeward_runtimes.errors import DeviceError
from edgeward_targets.transports.address import Hop

_SYSTEM = Path("/etc/ssh/ssh_known_hosts")
_SSH_PORT = 22


def files(given: str | None) -> list[str]:
    """The known_hosts files, the one that a new key goes to first. Raises DeviceError when a given one is absent."""
    if given is not None:
        path = Path(given).expanduser()
        if not path.is_file():
            raise DeviceError(f"{path}, named as known_hosts in the device's URL, is not there.")
        return [str(path)]
    return [str(path) for path in (_own(), _SYSTEM) if path.is_file()]


class Watchful(asyncssh.SSHClient):
    """Remembers the key that a host showed and that known_hosts does not have, and where it was looked up."""

    refused: tuple[str, int, asyncssh.SSHKey] | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Refuse: asked only for keys that are not known."""
        self.refused = (host, port, key)
        return False


def refusal(hop: Hop, refused: tuple[str, int, asyncssh.SSHKey] | None, given: str | None) -> DeviceError:
    """Say why a host was not believed, and what to do about it."""
    if refused is None:
        return DeviceError(f"{hop.host} shows a host key that was revoked, or a certificate of an unknown authority.")
    host, port, key = refused
    name = host if port == _SSH_PORT else f"[{host}]:{port}"
    known = files(given)
    file = known[0] if known else str(_own())
    shown = f"{name} shows the {key.get_algorithm()} host key {key.get_fingerprint()}"
    if known and asyncssh.match_known_hosts(known, host, "", port)[0]:
        return DeviceError(
            f"{shown}, but {file} has another one for it: the device was set up anew, or something stands between you "
            f"and it. Only when you know which: ssh-keygen -R {shlex.quote(name)} -f {shlex.quote(file)}"
        )
    line = f"{name} {key.export_public_key().decode().strip()}"
    return DeviceError(
        f"{shown}, which is not in {file}. Compare it with the one on the device (ssh-keygen -lf "
        f"/etc/ssh/ssh_host_*_key.pub); if they are the same, add it: echo {shlex.quote(line)} >> {shlex.quote(file)}"
    )


def _own() -> Path:
    return Path("~/.ssh/known_hosts").expanduser()
