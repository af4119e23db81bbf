"""Where the web server may listen: beyond loopback only with tokens and TLS, or when told that it is meant."""

import ipaddress
from pathlib import Path

from edgeward.monitor.config import HttpConfig
from edgeward_runtimes.errors import ConfigError


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that host name or address."""
    if host == "localhost":
        return True
    address = as_address(host)
    return address is not None and address.is_loopback


def as_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that is written there, or None for a name."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def check(http: HttpConfig, has_token: bool) -> None:
    """Refuse to serve a network what was meant for one machine. Raises ConfigError that says what to do."""
    if (http.certificate is None) != (http.key is None):
        raise ConfigError("[http] in monitor.toml needs certificate and key together: name both PEM files, or neither.")
    for path in filter(None, (http.certificate, http.key)):
        if not Path(path).is_file():
            raise ConfigError(f"[http] in monitor.toml names {path}, which is not a file.")
    if is_loopback(http.host) or http.insecure:
        return
    missing = []
    if not has_token:
        missing.append("make a token with: edgeward fleet token create NAME --role admin --config monitor.toml")
    if http.certificate is None:
        missing.append("name a certificate and its key in [http] in monitor.toml")
    if missing:
        raise ConfigError(
            f"The monitor would listen on {http.host}, beyond this machine, for whoever comes. First "
            f"{', and '.join(missing)}. Or set insecure = true there, where the network is to be trusted."
        )
