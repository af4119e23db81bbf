"""What `convert` is asked for, checked before anything is run: minutes of work must not end at a misspelled option.

Each function gives the option as it is used, or raises ConfigError.
"""

import math
import re
import tempfile
from collections.abc import Iterable, Sequence
from numbers import Real
from pathlib import Path

from edgeward_converters.variants import ALL, DEFAULT, split
from edgeward_runtimes.errors import ConfigError
from edgeward_runtimes.manifest import NAME_PATTERN, NAME_RULE
from edgeward_targets import profiles


def wanted(targets: Iterable[str], variants: Sequence[str] | None) -> list[str]:
    """The variants to make, in order: those named, those of the targets, or every engine's fp32 and int8."""
    if variants is None:
        named = [variant_id for target in targets for variant_id in profiles.get(target).variants]
        return list(dict.fromkeys(named)) or list(DEFAULT)
    if not variants:
        usual = ", ".join(DEFAULT)
        raise ConfigError(f"The list of variants is empty; name some of {', '.join(ALL)}, or leave it out for {usual}.")
    for variant_id in variants:
        split(variant_id)
    return list(dict.fromkeys(variants))


def name(option: str, given: str) -> str:
    """A name or a version: on the device a folder and a topic are called so."""
    if not (isinstance(given, str) and re.search(NAME_PATTERN, given)):
        raise ConfigError(f"The {option} {given!r} cannot be used; expected {NAME_RULE}. Pass another --{option}.")
    return given


def max_drop(given: float) -> float:
    """How much worse a variant may be."""
    if not isinstance(given, Real) or not math.isfinite(given) or given < 0:
        raise ConfigError(f"max_drop (--max-drop) is {given!r}; expected a finite number of at least 0, such as 0.01.")
    return float(given)


def report_folder(given: Path) -> Path:
    """The report's folder, made and tried."""
    try:
        given.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=given):
            return given
    except OSError as error:
        raise ConfigError(
            f"The report cannot be written into {given}: {error.strerror}. Name another folder by --report."
        ) from error
