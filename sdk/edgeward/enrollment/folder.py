"""Where a fleet's files lie, and how they come to be.

fleet.toml                          settings
authority/ ca.pem ca.key index.json     whoever has ca.key is the fleet: keep it off the broker's machine if you can
broker/    mosquitto.conf acl crl.pem ca.pem server.pem server.key data/
monitor/   monitor.toml ca.pem monitor.pem monitor.key
devices/   <device>/ agent.toml ca.pem device.pem device.key
"""

import datetime
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
from cryptography import x509
from msgspec import Struct

from edgeward.enrollment import authority, index, mosquitto, settings
from edgeward.enrollment.authority import Authority, Issued
from edgeward.enrollment.index import Entry, Index
from edgeward.enrollment.settings import BROKER, MONITOR, Settings
from edgeward_runtimes.durable import fsync_folder, write_atomically
from edgeward_runtimes.errors import ConfigError

SECRET, PUBLIC = 0o600, 0o644


class Fleet(Struct, frozen=True):
    """A fleet's folder, with what it is set to."""

    folder: Path
    settings: Settings

    @property
    def index(self) -> Path:
        """The file of all certificates."""
        return self.folder / "authority" / "index.json"

    def authority(self, password: str | None) -> Authority:
        """Who signs. Raises ConfigError when the key is not here or does not open."""
        place = self.folder / "authority"
        try:
            certificate, key = (place / "ca.pem").read_bytes(), (place / "ca.key").read_bytes()
        except OSError as error:
            raise ConfigError(f"The fleet's authority cannot be read: {error.filename}: {error.strerror}.") from error
        return authority.load(certificate, key, None if password is None else password.encode())

    @property
    def is_encrypted(self) -> bool:
        """Whether the authority's key needs a password."""
        with suppress(OSError):
            return b"ENCRYPTED" in (self.folder / "authority" / "ca.key").read_bytes().split(b"\n", 1)[0]
        return False


def open_fleet(folder: Path) -> Fleet:
    """A fleet that was made. Raises ConfigError."""
    return Fleet(folder.absolute(), settings.read(folder / "fleet.toml"))


def init(folder: Path, chosen: Settings, *, days: float, password: str | None = None) -> Fleet:
    """Make a fleet's folder: authority, broker, monitor. It is there whole, or not at all.

    Raises:
        ConfigError: When the folder holds something already.
    """
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            f"{folder} is there already, and not empty. Name another folder: a fleet's keys are not overwritten."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp"))
    try:
        _fill(Fleet(made, chosen), folder, days, password)
        made.chmod(0o755)
        made.rename(folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    fsync_folder(folder.parent)
    return Fleet(folder, chosen)


def _fill(fleet: Fleet, final: Path, days: float, password: str | None) -> None:
    moment = utc_now()
    ours = authority.make_authority(fleet.settings.fleet, moment)
    private = {"ca.key": authority.key_pem(ours.key, None if password is None else password.encode())}
    write(fleet.folder / "authority", {"ca.pem": authority.pem(ours.certificate), **private})
    write(fleet.folder, {"fleet.toml": msgspec.toml.encode(fleet.settings)})
    issue_broker(fleet, ours, days)
    issue_monitor(fleet, ours, days)
    texts = {
        "mosquitto.conf": mosquitto.configuration(fleet.settings, final / "broker").encode(),
        "ca.pem": authority.pem(ours.certificate),
    }
    write(fleet.folder / "broker", texts)
    write(fleet.folder / "monitor", {"ca.pem": authority.pem(ours.certificate), "monitor.toml": _monitor_toml(fleet)})
    (fleet.folder / "broker" / "data").mkdir(mode=0o700)
    write_access(fleet, ours, Index())
    for private_folder in ("authority", "monitor"):
        (fleet.folder / private_folder).chmod(0o700)
    _give_to_mosquitto(fleet.folder / "broker")


def issue(
    fleet: Fleet, ours: Authority, name: str, days: float, hosts: tuple[str, ...] = (), *, only_new: bool = False
) -> Issued:
    """Issue a certificate, known to the index first. Raises ConfigError, with `only_new`, when the name has one."""
    moment = utc_now()
    now = moment.timestamp()
    serial = x509.random_serial_number()
    until = min(now + days * 86_400, ours.certificate.not_valid_after_utc.timestamp())
    with index.locked(fleet.index) as known:
        if only_new and (good := known.good(name, now)):
            until_day = datetime.datetime.fromtimestamp(good[-1].expires_at, datetime.timezone.utc).date()
            raise ConfigError(
                f"{name} is enrolled until {until_day}. `edgeward fleet renew {name}` gives it a new certificate; "
                f"`edgeward fleet revoke {name}` shuts it out, and then it can be enrolled anew."
            )
        index.write(fleet.index, known.with_issued(Entry(f"{serial:x}", name, now, until)))
    return authority.issue(ours, name, serial, moment, days, hosts)


def issue_broker(fleet: Fleet, ours: Authority, days: float) -> None:
    """A new certificate for the broker, for all its names and for loopback."""
    chosen = fleet.settings
    own = () if chosen.monitor_address in ("0.0.0.0", "::") else (chosen.monitor_address,)  # noqa: S104 — compared
    hosts = tuple(dict.fromkeys((*chosen.hosts, *own, "localhost", "127.0.0.1")))
    made = issue(fleet, ours, BROKER, days, hosts)
    write(fleet.folder / "broker", {"server.key": made.key, "server.pem": made.certificate})
    _give_to_mosquitto(fleet.folder / "broker")


def issue_monitor(fleet: Fleet, ours: Authority, days: float) -> None:
    """A new certificate for the monitor."""
    made = issue(fleet, ours, MONITOR, days)
    write(fleet.folder / "monitor", {"monitor.key": made.key, "monitor.pem": made.certificate})


def write_access(fleet: Fleet, ours: Authority, known: Index) -> None:
    """The broker's list of revoked certificates and its access rules, from the index."""
    broker = fleet.folder / "broker"
    moment = utc_now()
    revoked = [
        (int(entry.serial, 16), datetime.datetime.fromtimestamp(entry.revoked_at, datetime.timezone.utc))
        for entry in known.entries
        if entry.revoked_at is not None
    ]
    previous = authority.date_of((broker / "crl.pem").read_bytes()) if (broker / "crl.pem").exists() else None
    listed, _ = authority.revocations(ours, revoked, moment, previous)
    shut_out = [
        name
        for name in known.names()
        if not known.good(name, moment.timestamp()) and any(e.revoked_at for e in known.entries if e.name == name)
    ]
    write(broker, {"crl.pem": listed, "acl": mosquitto.access(fleet.settings, shut_out).encode()})


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files, each atomically; keys and what lies beside them as secrets for their owner alone."""
    for name, content in files.items():
        write_atomically(folder / name, content, SECRET if name.endswith(".key") else PUBLIC)


def utc_now() -> datetime.datetime:
    """Now."""
    return datetime.datetime.now(datetime.timezone.utc)


def _monitor_toml(fleet: Fleet) -> bytes:
    broker = {
        "embedded": False,
        "url": fleet.settings.monitor_broker,
        "ca": "ca.pem",
        "certificate": "monitor.pem",
        "key": "monitor.key",
    }
    return msgspec.toml.encode({"host_id": fleet.settings.host_id, "broker": broker})


def _give_to_mosquitto(broker: Path) -> None:
    """Made by root, the key and data are given to the user that Mosquitto becomes, if this system has it."""
    with suppress(LookupError, PermissionError):
        if os.geteuid() == 0:
            shutil.chown(broker, "mosquitto", "mosquitto")
            for name in ("server.key", "data"):
                if (broker / name).exists():
                    shutil.chown(broker / name, "mosquitto", "mosquitto")
