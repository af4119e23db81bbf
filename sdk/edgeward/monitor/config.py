"""`monitor.toml`: where the monitor listens and keeps its data. An empty file is a valid one.

host_id = "edgeward"                       # our Sparkplug host id; agents name the same
[broker]
embedded = true                            # ours, on loopback
url = "mqtt://127.0.0.1:1883"              # where it listens; or, with embedded = false, which to use (mqtts:// too)
ca = "ca.pem"                              # PEM files, for mqtts://: whom to trust, and what to show with its key
certificate = "monitor.pem"
key = "monitor.key"
[ingest]
workers = 1                                # more share a fleet's messages; for that the store must be PostgreSQL
[store]
url = "sqlite:///monitor.db"               # or "postgresql://user:password@host/database"
[store.retention]                          # in days; totals are kept for good
minutes = 2
hours = 60
days = 1826
logs = 30
[http]
host = "127.0.0.1"                         # beyond loopback it needs a token, and:
port = 8080
certificate = "monitor.crt"                # PEM files, for TLS
key = "monitor.key"
insecure = false                           # true: none of that, as the network is to be trusted
metrics_devices = 100                      # /metrics has series by device in fleets that are no larger
[alerts]
file = "alerts.toml"                       # rules, and whom to tell (docs/alerts.md); left out: the default rules
[registry]
folder = "registry"                        # a signed registry (docs/registry.md), served at /registry and kept fresh
"""

from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct, field
from msgspec.structs import replace

from edgeward_runtimes.agent.config import Level
from edgeward_runtimes.errors import ConfigError

Port = Annotated[int, Meta(ge=1, le=65535)]
_Part = TypeVar("_Part", bound=Struct)


class BrokerConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The broker; the files are for `mqtts://`."""

    embedded: bool = True
    url: str = "mqtt://127.0.0.1:1883"
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None


class IngestConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """How many processes write what devices tell into the store."""

    workers: Annotated[int, Meta(ge=1, le=64)] = 1


class RetentionConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """For how many days series are kept by the minute, the hour and the day, and logs."""

    minutes: Annotated[int, Meta(ge=1)] = 2
    hours: Annotated[int, Meta(ge=2)] = 60  # one day is needed to roll it up
    days: Annotated[int, Meta(ge=2)] = 1826
    logs: Annotated[int, Meta(ge=1)] = 30


class StoreConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The database, as SQLAlchemy writes URLs."""

    url: str = "sqlite:///monitor.db"
    retention: RetentionConfig = field(default_factory=RetentionConfig)


class HttpConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """REST and dashboard; `access.exposure` says what has to be there beyond loopback."""

    host: str = "127.0.0.1"
    port: Port = 8080
    certificate: str | None = None
    key: str | None = None
    insecure: bool = False
    metrics_devices: Annotated[int, Meta(ge=0)] = 100


class AlertsConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the rules for alerts are; without a file, the default ones."""

    file: str | None = None


class RegistryConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The signed registry that is served, and whose timestamp and snapshot are renewed here; None: none is."""

    folder: str | None = None


class MonitorConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of `monitor.toml`."""

    host_id: Level = "edgeward"
    broker: BrokerConfig = field(default_factory=BrokerConfig)
    ingest: IngestConfig = field(default_factory=IngestConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    http: HttpConfig = field(default_factory=HttpConfig)
    alerts: AlertsConfig = field(default_factory=AlertsConfig)
    registry: RegistryConfig = field(default_factory=RegistryConfig)


def read(path: Path | None) -> MonitorConfig:
    """Read `monitor.toml`; None gives the defaults. Raises ConfigError that names the file and the key."""
    if path is None:
        return MonitorConfig()
    try:
        config = msgspec.toml.decode(path.read_bytes(), type=MonitorConfig)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a valid monitor configuration: {error}.") from error
    if config.ingest.workers > 1 and config.store.url.startswith("sqlite"):
        raise ConfigError(
            f"{path} has {config.ingest.workers} [ingest] workers on {config.store.url}, and SQLite has one writer at "
            "a time. Set [store] url to a PostgreSQL database, or workers = 1."
        )
    return _beside(path.parent, config)


def _beside(folder: Path, config: MonitorConfig) -> MonitorConfig:
    """With the files that it names relative to its own folder."""
    parts = {"http": config.http, "broker": config.broker, "alerts": config.alerts, "registry": config.registry}
    return replace(config, **{name: _with_paths(folder, part) for name, part in parts.items()})


def _with_paths(folder: Path, part: _Part) -> _Part:
    named = {name: getattr(part, name, None) for name in ("ca", "certificate", "key", "file", "folder")}
    return replace(part, **{name: str(folder / file) for name, file in named.items() if file is not None})
