"""`agent.toml`: whom the agent reports to, and as which device.

fleet = "factory-1"
device = "press-7"
target = "raspberrypi4"
broker = "mqtt://10.0.0.2:1883"
interval_s = 10
keep_alive_s = 30
host_id = "edgeward"
"""

import socket
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Meta, Struct

from edgeward_runtimes.errors import ConfigError
from edgeward_runtimes.sparkplug.topics import LEVEL_PATTERN

Level = Annotated[str, Meta(pattern=LEVEL_PATTERN)]
Interval = Annotated[float, Meta(ge=0.1, le=86_400)]


class AgentConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of `agent.toml`.

    Attributes:
        broker: `mqtt://[user:password@]host[:port]`; what is special in a URL is percent-encoded in user and password.
        interval_s: Seconds between two reports, 0.1 to 86,400.
        keep_alive_s: MQTT's; the broker declares the device dead after 1.5 of them in silence.
        host_id: The Sparkplug host whose return is answered with a rebirth.
    """

    fleet: Level
    device: Level = msgspec.field(default_factory=socket.gethostname)
    target: str = "unknown"
    broker: str = "mqtt://127.0.0.1:1883"
    interval_s: Interval = 10.0
    keep_alive_s: Annotated[int, Meta(ge=1, le=65535)] = 30
    host_id: Level = "edgeward"


class BrokerAddress(Struct, frozen=True):
    """A broker URL, taken apart."""

    host: str
    port: int
    user: str | None
    password: str | None


def read(path: Path) -> AgentConfig:
    """Read `agent.toml`. Raises ConfigError that names the file and the key."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=AgentConfig)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a valid agent configuration: {error}.") from error


def broker_address(url: str) -> BrokerAddress:
    """Take a broker URL apart. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        port = parts.port or 1883
    except ValueError as error:
        raise ConfigError(f"Broker {url!r} is not of the form mqtt://host:port: {error}.") from None
    if parts.scheme != "mqtt" or not parts.hostname:
        raise ConfigError(f"Broker {url!r} is not of the form mqtt://host:port.")
    user, password = (None if each is None else unquote(each) for each in (parts.username, parts.password))
    return BrokerAddress(parts.hostname, port, user, password)
