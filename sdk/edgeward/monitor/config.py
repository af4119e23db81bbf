"""`monitor.toml`: where the monitor listens and keeps its data. An empty file is a valid one.

host_id = "edgeward"                       # our Sparkplug host id; agents name the same
[broker]
embedded = true                            # ours, on loopback
url = "mqtt://127.0.0.1:1883"              # where it listens; or, with embedded = false, which to use
[store]
url = "sqlite:///monitor.db"
[http]
host = "127.0.0.1"
port = 8080
"""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, field

from edgeward_runtimes.agent.config import Level
from edgeward_runtimes.errors import ConfigError

Port = Annotated[int, Meta(ge=1, le=65535)]


class BrokerConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The broker."""

    embedded: bool = True
    url: str = "mqtt://127.0.0.1:1883"


class StoreConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The database, as SQLAlchemy writes URLs."""

    url: str = "sqlite:///monitor.db"


class HttpConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """REST and dashboard."""

    host: str = "127.0.0.1"
    port: Port = 8080


class MonitorConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of `monitor.toml`."""

    host_id: Level = "edgeward"
    broker: BrokerConfig = field(default_factory=BrokerConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    http: HttpConfig = field(default_factory=HttpConfig)


def read(path: Path | None) -> MonitorConfig:
    """Read `monitor.toml`; None gives the defaults. Raises ConfigError that names the file and the key."""
    if path is None:
        return MonitorConfig()
    try:
        return msgspec.toml.decode(path.read_bytes(), type=MonitorConfig)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a valid monitor configuration: {error}.") from error
