"""`agent.toml`: whom the agent reports to, and as which device.

fleet = "factory-1"
device = "press-7"
target = "raspberrypi4"
broker = "mqtts://10.0.0.2:8883"           # or mqtt://[user:password@]host[:1883]
ca = "ca.pem"                              # whom to trust; left out: the system's authorities
certificate = "press-7.pem"                # what to show to a broker that asks, with its key
key = "press-7.key"
interval_s = 10
observed_every_s = 60                      # how often drift and accuracy are told, at most
keep_alive_s = 30
host_id = "edgeward"
wait_for_host = false                      # true: tell nothing while that host is offline, keep it for later
[spool]
rows = 100000
size_mb = 32
[update]                                   # of installs that a host asks for
limit = "200k"                             # bytes per second of a download, also 1.5M; left out: as fast as it goes
health = "10m,errors=1%,p95=1.5"           # take back what is worse than before; left out: the host's rollout judges
"""

import socket
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from edgeward_runtimes.errors import ConfigError
from edgeward_runtimes.sparkplug.topics import LEVEL_PATTERN

Level = Annotated[str, Meta(pattern=LEVEL_PATTERN)]
Interval = Annotated[float, Meta(ge=0.1, le=86_400)]
_FILES = ("ca", "certificate", "key")


class SpoolConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The most that is kept while nobody listens; at 10 s an interval, 100,000 rows are eleven days."""

    rows: Annotated[int, Meta(ge=1, le=10_000_000)] = 100_000
    size_mb: Annotated[float, Meta(ge=0.1, le=4096)] = 32.0


class UpdateConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """How installs that a host asks for are done, as `edgeward update` has it."""

    limit: Annotated[str, Meta(pattern=r"\A[0-9]+(\.[0-9]+)?[kKmM]?\Z")] | None = None
    health: Annotated[str, Meta(max_length=200)] | None = None


class AgentConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of `agent.toml`.

    Attributes:
        broker: `mqtt://[user:password@]host[:port]`, or `mqtts://…` for TLS; what is special in a URL is
            percent-encoded in user and password.
        ca, certificate, key: PEM files for `mqtts://`; relative paths are relative to `agent.toml`.
        interval_s: Seconds between two reports, 0.1 to 86,400.
        observed_every_s: Seconds after which what models see is looked at anew; no more often than it is reported.
        keep_alive_s: MQTT's; the broker declares the device dead after 1.5 of them in silence.
        host_id: The Sparkplug host whose return is answered with a rebirth.
        wait_for_host: Whether that host is the primary one, without which nothing is told but kept.
    """

    fleet: Level
    device: Level = msgspec.field(default_factory=socket.gethostname)
    target: str = "unknown"
    broker: str = "mqtt://127.0.0.1:1883"
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    interval_s: Interval = 10.0
    observed_every_s: Interval = 60.0
    keep_alive_s: Annotated[int, Meta(ge=1, le=65535)] = 30
    host_id: Level = "edgeward"
    wait_for_host: bool = False
    spool: SpoolConfig = SpoolConfig()
    update: UpdateConfig = UpdateConfig()


class BrokerAddress(Struct, frozen=True):
    """A broker URL, taken apart."""

    host: str
    port: int
    user: str | None
    password: str | None
    tls: bool = False

    @property
    def shown(self) -> str:
        """The URL without user and password, for people and logs."""
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"


def read(path: Path) -> AgentConfig:
    """Read `agent.toml`. Raises ConfigError that names the file and the key."""
    try:
        config = msgspec.toml.decode(path.read_bytes(), type=AgentConfig)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a valid agent configuration: {error}.") from error
    given = {name: getattr(config, name) for name in _FILES if getattr(config, name) is not None}
    if given and not broker_address(config.broker, tls=True).tls:
        names = " and ".join(given)
        raise ConfigError(f"{path} has {names} but a broker without TLS, {config.broker}: write mqtts://…")
    if config.key is not None and config.certificate is None:
        raise ConfigError(f"{path} has a key but no certificate: add certificate = …")
    return replace(config, **{name: str(path.parent / file) for name, file in given.items()})


def broker_address(url: str, *, tls: bool = False) -> BrokerAddress:
    """Take a broker URL apart; `tls` says whether `mqtts://` is possible here. Raises ConfigError."""
    schemes = {"mqtt": 1883, "mqtts": 8883} if tls else {"mqtt": 1883}
    form = " or ".join(f"{scheme}://host:port" for scheme in schemes)
    try:
        parts = urlsplit(url)
        port = parts.port or schemes.get(parts.scheme)
    except ValueError as error:
        raise ConfigError(f"Broker {url!r} is not of the form {form}: {error}.") from None
    if port is None or parts.scheme not in schemes or not parts.hostname:
        raise ConfigError(f"Broker {url!r} is not of the form {form}.")
    user, password = (None if each is None else unquote(each) for each in (parts.username, parts.password))
    return BrokerAddress(parts.hostname, port, user, password, parts.scheme == "mqtts")
