"""Mosquitto's configuration and access rules for a fleet, as text (mosquitto.conf(5), version 2.0).

A certificate's common name is the user name, and `%u` in a pattern is that: with one authority per fleet, a device's
name alone says who it is. Devices come in by one port, the monitor by another:

- For devices the user name also becomes the client id, so no device can take over another's connection by its id.
- The monitor has several connections with one certificate, so it chooses its client ids; on loopback, unless told
  otherwise, because a device that could reach that port could choose the monitor's.
"""

from collections.abc import Iterable
from pathlib import Path

from edgeward.enrollment.settings import MONITOR, Settings
from edgeward_runtimes.sparkplug.topics import NAMESPACE, host_state

ALERTS = "edgeward/alerts"


def configuration(settings: Settings, folder: Path) -> str:
    """`mosquitto.conf`, for a broker whose files are in a folder."""
    return f"""# The broker of the fleet {settings.fleet}: mosquitto -c {folder}/mosquitto.conf
# Written by `edgeward fleet init`. SIGHUP has it read acl, crl.pem and server.pem again.
per_listener_settings false
allow_anonymous false
acl_file {folder}/acl
pid_file {folder}/data/mosquitto.pid
persistence true
persistence_location {folder}/data/
max_packet_size 1048576
# Else a monitor that is slow for a moment loses what a large fleet tells meanwhile.
max_queued_messages 200000

# Devices.
listener {settings.port}
{_tls(folder)}use_username_as_clientid true

# The monitor.
listener {settings.monitor_port} {settings.monitor_address}
{_tls(folder)}"""


def access(settings: Settings, shut_out: Iterable[str]) -> str:
    """The access rules. Who is shut out can do nothing on a connection that is still open."""
    fleet = f"{NAMESPACE}/{settings.fleet}"
    device = [f"pattern write {fleet}/{kind}/%u" for kind in ("NBIRTH", "NDATA", "NDEATH")]
    device += [f"pattern write {fleet}/{kind}/%u/+" for kind in ("DBIRTH", "DDATA", "DDEATH")]
    device += [f"pattern read {fleet}/NCMD/%u", f"pattern read {fleet}/DCMD/%u/+"]
    monitor = [
        f"user {MONITOR}",
        f"topic read {fleet}/#",
        f"topic write {fleet}/NCMD/+",
        f"topic write {fleet}/DCMD/+/+",
        f"topic readwrite {host_state(settings.host_id)}",
        f"topic write {ALERTS}/#",
    ]
    denied = [line for name in shut_out for line in ("", f"user {name}", "topic deny #")]
    lines = [
        f"# The fleet {settings.fleet}. Written by edgeward: changes are lost at the next `edgeward fleet revoke`.",
        "# A device writes what is its own, and reads commands to it and whether the monitor is there.",
        *device,
        f"pattern read {host_state(settings.host_id)}",
        "",
        *monitor,
        *denied,
    ]
    return "\n".join(lines) + "\n"


def _tls(folder: Path) -> str:
    return f"""cafile {folder}/ca.pem
certfile {folder}/server.pem
keyfile {folder}/server.key
crlfile {folder}/crl.pem
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
"""
