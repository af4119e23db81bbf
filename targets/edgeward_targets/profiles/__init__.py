"""Profiles: what a kind of board is, as data. One TOML file each, in this folder."""

from importlib.resources import files

import msgspec
from msgspec import Struct

from edgeward_runtimes.errors import ConfigError

_PACKAGE = files(__name__)


class Profile(Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of board.

    Attributes:
        name: As in `--target`.
        description: What it is, in one line.
        architecture: As `uname -m` prints it there.
        variants: Those worth exporting for it, best first, as `ENGINE-PRECISION`.
        accelerators: What its engines try before the CPU, best first.
    """

    name: str
    description: str
    architecture: str
    variants: tuple[str, ...]
    accelerators: tuple[str, ...] = ()


def names() -> list[str]:
    """All profiles, in alphabetical order."""
    return sorted(entry.name.removesuffix(".toml") for entry in _PACKAGE.iterdir() if entry.name.endswith(".toml"))


def get(name: str) -> Profile:
    """Return a profile by name. Raises ConfigError that lists those there are."""
    if name not in names():
        raise ConfigError(f"There is no target {name!r}; there are {', '.join(names())}.")
    return msgspec.toml.decode((_PACKAGE / f"{name}.toml").read_bytes(), type=Profile)
