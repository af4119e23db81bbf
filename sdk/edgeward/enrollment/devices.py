"""Devices of a fleet: enroll, renew, revoke, list."""

import contextlib
import os
import shutil
import signal
import tempfile
from pathlib import Path

import msgspec
from msgspec import Struct

from edgeward.enrollment import authority, index
from edgeward.enrollment.authority import Authority
from edgeward.enrollment.folder import Fleet, issue, issue_broker, issue_monitor, utc_now, write, write_access
from edgeward.enrollment.settings import BROKER, MONITOR, check_device
from edgeward_runtimes.durable import fsync_folder
from edgeward_runtimes.errors import ConfigError

DAYS = 365.0


class Listed(Struct, frozen=True):
    """Somebody with a certificate: good, expired or revoked. `expires_at` is of the latest, in Unix seconds."""

    name: str
    state: str
    expires_at: float
    serials: tuple[str, ...]


class Trust(Struct, frozen=True):
    """What makes a device take signed releases alone: a registry's root metadata, and the registry's address."""

    root: bytes
    registry: str


class Revoked(Struct, frozen=True):
    """What came of revoking: how many certificates, and whether Mosquitto, if it runs here, was told to read it."""

    name: str
    certificates: int
    broker_reloaded: bool


def enroll(
    fleet: Fleet,
    device: str,
    out: Path | None,
    *,
    days: float = DAYS,
    password: str | None = None,
    trust: Trust | None = None,
) -> Path:
    """Give a device its certificate, with an agent.toml that uses it, in a new folder; gives the folder.

    Args:
        fleet: Whose device it becomes.
        device: Its name.
        out: The folder, by default `devices/<device>` of the fleet's.
        days: How long the certificate is good.
        password: Of the authority's key.
        trust: Whose releases the device is to take, and no others.

    Raises:
        ConfigError: When the name cannot be one, the device is enrolled, or the folder is there already.
    """
    check_device(device)
    out = (fleet.folder / "devices" / device if out is None else out).absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(
            f"{out} is there already, and not empty. Keys are not overwritten: name another folder with -o."
        )
    ours = fleet.authority(password)
    made = issue(fleet, ours, device, days, only_new=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".tmp"))  # of mode 0700
    try:
        files = {"device.key": made.key, "device.pem": made.certificate, "ca.pem": authority.pem(ours.certificate)}
        write(folder, {**files, "agent.toml": _agent_toml(fleet, device)})
        if trust is not None:
            write(folder / "trust", {"root.json": trust.root, "registry": f"{trust.registry}\n".encode()})
        folder.rename(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    fsync_folder(out.parent)
    _write_access(fleet, ours)  # one that was revoked before is let in again, by its new certificate
    return out


def renew(fleet: Fleet, name: str, out: Path | None, *, days: float = DAYS, password: str | None = None) -> Path:
    """A new key and certificate in the place of the old, which stay good until they expire; gives the folder.

    Interrupted between the two files, they do not fit together: renew again.

    Raises:
        ConfigError: When nobody of that name is enrolled, or the folder is not there.
    """
    if not index.read(fleet.index).good(name, utc_now().timestamp()) and name not in (BROKER, MONITOR):
        raise ConfigError(
            f"{name} has no certificate that is good; `edgeward fleet enroll {name} -o DIR` gives it one."
        )
    if name == BROKER:
        issue_broker(fleet, fleet.authority(password), days)
        reload_broker(fleet)
        return fleet.folder / "broker"
    if name == MONITOR:
        issue_monitor(fleet, fleet.authority(password), days)
        return fleet.folder / "monitor"
    folder = fleet.folder / "devices" / name if out is None else out
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not there; name the folder of {name}'s files with -o.")
    made = issue(fleet, fleet.authority(password), name, days)
    write(folder, {"device.key": made.key, "device.pem": made.certificate})
    return folder


def revoke(fleet: Fleet, device: str, *, password: str | None = None) -> Revoked:
    """Shut a device out: all its certificates are revoked, and an open connection can do nothing any more.

    Asked again, it writes the broker's files and has them read once more.

    Raises:
        ConfigError: When no such device was ever enrolled.
    """
    check_device(device)
    ours = fleet.authority(password)
    with index.locked(fleet.index) as known:
        if device not in known.names():
            raise ConfigError(f"No device {device!r} was enrolled; `edgeward fleet devices` lists those that were.")
        after = known.with_revoked(device, utc_now().timestamp())
        index.write(fleet.index, after)
        write_access(fleet, ours, after)
    count = sum(entry.name == device and entry.revoked_at is not None for entry in after.entries)
    return Revoked(device, count, reload_broker(fleet))


def listed(fleet: Fleet) -> list[Listed]:
    """Everybody who has a certificate or had one, with broker and monitor; who expires first comes first."""
    now = utc_now().timestamp()
    known = index.read(fleet.index)
    found = []
    for name in known.names():
        entries = [entry for entry in known.entries if entry.name == name]
        good = [entry for entry in entries if entry.is_good(now)]
        latest = (good or entries)[-1]
        state = "good" if good else "revoked" if latest.revoked_at is not None else "expired"
        found.append(Listed(name, state, latest.expires_at, tuple(entry.serial for entry in good)))
    return sorted(found, key=lambda each: (each.expires_at, each.name))


def reload_broker(fleet: Fleet) -> bool:
    """Have Mosquitto read its files again, if it runs on this machine with this fleet's configuration."""
    with contextlib.suppress(OSError, ValueError):
        process = int((fleet.folder / "broker" / "data" / "mosquitto.pid").read_text())
        if Path(f"/proc/{process}/comm").read_text().strip() == "mosquitto":
            os.kill(process, signal.SIGHUP)
            return True
    return False


def _write_access(fleet: Fleet, ours: Authority) -> None:
    with index.locked(fleet.index) as known:
        if any(entry.revoked_at is not None for entry in known.entries):
            write_access(fleet, ours, known)
            reload_broker(fleet)


def _agent_toml(fleet: Fleet, device: str) -> bytes:
    told = {
        "fleet": fleet.settings.fleet,
        "device": device,
        "broker": fleet.settings.broker,
        "ca": "ca.pem",
        "certificate": "device.pem",
        "key": "device.key",
        "host_id": fleet.settings.host_id,
    }
    return msgspec.toml.encode(told)
