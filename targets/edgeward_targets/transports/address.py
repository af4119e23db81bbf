"""Device URLs, taken apart (pure).

    ssh://[user@]host[:port][?home=DIR&python=PROGRAM&key=FILE&known_hosts=FILE&jump=[user@]host[:port],…]

home            edgeward's folder there; else as the device itself has it (`edgeward_runtimes.home`)
python          the Python that has edgeward; else HOME/venv/bin/python, and where there is none, python3
key             the private key to show; else those of the agent and of ~/.ssh
known_hosts     the file that the host's key is looked up in; else ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts
jump            hosts to go through, the first one first; their keys are looked up as well

What else ~/.ssh/config says of a host (HostName, User, Port, IdentityFile, ProxyJump) is followed.
"""

from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct

from edgeward_runtimes.errors import DeviceError

_OPTIONS = ("home", "python", "key", "known_hosts", "jump")


class Hop(Struct, frozen=True):
    """A host on the way; None is what ~/.ssh/config says, or ssh's default."""

    host: str
    port: int | None = None
    user: str | None = None


class SshAddress(Struct, frozen=True):
    """An ssh device URL, taken apart."""

    hop: Hop
    jumps: tuple[Hop, ...] = ()
    home: str | None = None
    python: str | None = None
    key: str | None = None
    known_hosts: str | None = None


def parse(url: str) -> SshAddress:
    """Take an ssh URL apart. Raises DeviceError that says what is wrong with it."""
    options = dict(parse_options(url, _OPTIONS))
    jumps = options.pop("jump", "")
    return SshAddress(
        hop=_hop(url, url), jumps=tuple(_hop(f"ssh://{jump}", url) for jump in jumps.split(",") if jump), **options
    )


def parse_options(url: str, known: tuple[str, ...]) -> list[tuple[str, str]]:
    """The options after the question mark. Raises DeviceError for one that is not known."""
    options = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    for name, value in options:
        if name not in known or not value:
            raise DeviceError(f"{url!r} has the option {name}={value}; a device URL takes {', '.join(known)}.")
        if name in ("home", "python") and not value.startswith("/"):
            raise DeviceError(f"{url!r}: {name} is a path on the device and begins with a slash, not {value!r}.")
    return options


def _hop(url: str, whole: str) -> Hop:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise DeviceError(f"{whole!r} is not of the form ssh://[user@]host[:port]: {error}.") from None
    if parts.password is not None:
        raise DeviceError(
            f"ssh://{parts.username}@{parts.hostname} was given with a password, which others could read: "
            "use a key instead (ssh-copy-id puts one there)."
        )
    if not parts.hostname or parts.path not in ("", "/") or parts.fragment:
        raise DeviceError(f"{whole!r} is not of the form ssh://[user@]host[:port].")
    return Hop(parts.hostname, port, unquote(parts.username) if parts.username else None)
