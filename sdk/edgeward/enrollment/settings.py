"""`fleet.toml`: what a fleet is called and where its broker is. The rules for names are here, too."""

import contextlib
import ipaddress
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from edgeward_runtimes.errors import ConfigError

# A name becomes a certificate's common name (64 signs at most), Mosquitto's user name and `%u` in its patterns, a level
# of a topic and a folder: nothing that has a meaning in any of them.
NAME_PATTERN = r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"
BROKER, MONITOR = "edgeward-broker", "edgeward-monitor"

Name = Annotated[str, Meta(pattern=NAME_PATTERN)]
Port = Annotated[int, Meta(ge=1, le=65535)]


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of `fleet.toml`.

    Attributes:
        fleet: Its name, as in `spBv1.0/<fleet>/…`.
        hosts: The broker's names and addresses; devices use the first.
        port: Where the broker listens to devices, on all interfaces.
        monitor_address: Where it listens to the monitor; beyond loopback, a firewall has to keep devices out.
        monitor_port: And on which port.
        host_id: The monitor's Sparkplug host id.
    """

    fleet: Name
    hosts: Annotated[tuple[str, ...], Meta(min_length=1)]
    port: Port = 8883
    monitor_address: str = "127.0.0.1"
    monitor_port: Port = 8884
    host_id: Name = "edgeward"

    @property
    def broker(self) -> str:
        """The broker's URL for devices."""
        return f"mqtts://{in_url(self.hosts[0])}:{self.port}"

    @property
    def monitor_broker(self) -> str:
        """The broker's URL for the monitor."""
        anywhere = self.monitor_address in ("0.0.0.0", "::")  # noqa: S104 — compared, not bound
        return f"mqtts://{in_url(self.hosts[0] if anywhere else self.monitor_address)}:{self.monitor_port}"


def read(path: Path) -> Settings:
    """Read `fleet.toml`. Raises ConfigError that names the file and the key."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Settings)
    except FileNotFoundError:
        raise ConfigError(
            f"{path.parent} is no fleet's folder: it has no {path.name}. "
            "Make one with `edgeward fleet init DIR`, or name it with --folder."
        ) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a fleet's file: {error}.") from error


def make(fleet: str, hosts: tuple[str, ...], **others: object) -> Settings:
    """Settings from options. Raises ConfigError that says which is wrong."""
    check_name(fleet, "fleet")
    for host in (*hosts, str(others.get("monitor_address", "127.0.0.1"))):
        check_host(host)
    try:
        return msgspec.convert({"fleet": fleet, "hosts": hosts, **others}, type=Settings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"These settings make no fleet: {error}.") from error


def check_name(name: str, what: str) -> None:
    """Refuse a name that would mean more than itself somewhere. Raises ConfigError."""
    try:
        msgspec.convert(name, type=Name)
    except msgspec.ValidationError:
        raise ConfigError(
            f"{name!r} cannot be a {what}'s name: it takes 1 to 64 letters, digits, '.', '_' and '-', "
            "the first a letter or digit (no '/', '+' or '#', which mean something in topics)."
        ) from None


def check_device(name: str) -> None:
    """Refuse what cannot be a device's name. Raises ConfigError."""
    check_name(name, "device")
    if name in (BROKER, MONITOR):
        raise ConfigError(f"{name!r} cannot be a device's name: it is that of the {name.partition('-')[2]}.")


def check_host(host: str) -> None:
    """Refuse what is neither an address nor a host name. Raises ConfigError."""
    if address(host) is None and not all(
        part and len(part) <= 63 and part.replace("-", "a").isalnum() and part.isascii() for part in host.split(".")
    ):
        raise ConfigError(f"{host!r} is neither an IP address nor a host name, such as broker.example.org or 10.0.0.2.")


def address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """A host as an IP address; None when it is a name."""
    with contextlib.suppress(ValueError):
        return None if "%" in host else ipaddress.ip_address(host)  # a scope is one machine's own
    return None


def in_url(host: str) -> str:
    """As it stands in a URL."""
    found = address(host)
    return f"[{host}]" if found is not None and found.version == 6 else host
