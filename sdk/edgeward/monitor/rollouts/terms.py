"""What a rollout is told to do, as people write it: `5%,25%,100%`, `10m`, `p95=1.10,errors=0.1%,drift=0.2`. Pure.

Everything is kept as it was written, so that a rollout shows what was asked for.
"""

import re
from math import ceil, isfinite

from msgspec import Struct

from edgeward_runtimes.errors import ConfigError

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = r"\d+(?:\.\d+)?"
_DURATION = re.compile(rf"({_NUMBER})(ms|[smhd])")
_SHARE = re.compile(rf"({_NUMBER})(%?)")


class Gates(Struct, frozen=True):
    """What the new release must keep, compared with the old one on the same devices; None: not looked at.

    Attributes:
        p95: The new release's p95 latency, as a multiple of the old one's, at most.
        errors: The share of calls that fail may be greater by this much, at most (0 to 1).
        drift: A device's drift score (population stability index), at most.
    """

    p95: float | None = None
    errors: float | None = None
    drift: float | None = None


def parse_stages(text: str) -> tuple[float, ...]:
    """`5%,25%,100%` as shares of the group, which rise and end at 1. Raises ConfigError."""
    shares = tuple(_share(each.strip(), f"Stages {text!r}") for each in text.split(","))
    if any(later <= earlier for earlier, later in zip((0.0, *shares), shares, strict=False)) or shares[-1] != 1.0:
        raise ConfigError(f"Stages {text!r} must rise and end with 100%, for instance 5%,25%,100%.")
    return shares


def parse_duration(text: str) -> float:
    """`90s`, `10m`, `1h30m` or `500ms` in seconds. Raises ConfigError."""
    parts = _DURATION.findall(text)
    if not parts or "".join(f"{number}{unit}" for number, unit in parts) != text:
        raise ConfigError(f"{text!r} is not a duration: write for instance 30s, 10m, 2h or 1h30m.")
    return sum(float(number) * (0.001 if unit == "ms" else _UNITS_S[unit]) for number, unit in parts)


def parse_gates(text: str) -> Gates:
    """`p95=1.10,errors=0.1%,drift=0.2`, or a part of it; an empty text has no gates. Raises ConfigError."""
    gates: dict[str, float] = {}
    for each in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = each.partition("=")
        if name not in Gates.__struct_fields__ or not equals or name in gates:
            raise ConfigError(f"Gate {each!r} is not one of p95=1.10, errors=0.1% and drift=0.2, each once at most.")
        gates[name] = _share(value, f"Gate {each!r}") if name == "errors" else _number(value, f"Gate {each!r}")
    if gates.get("p95", 1.0) < 1.0:
        raise ConfigError(
            f"Gate p95={gates['p95']:g} asks for a faster release; it is a multiple of the old p95, from 1."
        )
    return Gates(**gates)


def parse_share(text: str) -> float:
    """`10%` or `0.1`, from 0 to 1. Raises ConfigError."""
    return _share(text, "A share")


def stage_sizes(stages: tuple[float, ...], devices: int) -> tuple[int, ...]:
    """How many devices each stage has reached in the end: rounded up, so that a first stage is never empty."""
    return tuple(min(devices, ceil(round(share * devices, 9))) for share in stages)


def is_release_of(release: str, version: str) -> bool:
    """Whether a device's release (`<version>-<digest8>`) is of a version, or is the release that is named."""
    return release == version or release.rpartition("-")[0] == version


def _share(text: str, where: str) -> float:
    found = _SHARE.fullmatch(text)
    share = float(found[1]) / (100 if found[2] else 1) if found else -1.0
    if not 0 <= share <= 1 or (found and not found[2] and "." not in text and share not in (0, 1)):
        raise ConfigError(f"{where}: {text!r} is not a share such as 5% or 0.05.")
    return share


def _number(text: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if number < 0 or not isfinite(number):
        raise ConfigError(f"{where}: {text!r} is not a number from 0.")
    return number
