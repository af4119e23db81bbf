"""Recipes: TOML that says which steps to take, in order, and which variants to export.

    variants = ["litert-int8", "litert-mixed"]

    [[step]]
    method = "prune_channels"
    ratio = 0.5
    training = { epochs = 5 }

    [[step]]
    method = "distill"
    temperature = 4.0

A table's other keys are the fields of the method's struct (`compress.methods`). Everything is checked when the recipe
is read, before a model is loaded.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import tomllib
from msgspec import Struct

from edgeward_converters.compress.methods import METHODS, AnyStep
from edgeward_runtimes.errors import ConfigError, one_line


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """Steps in order, and the variants to make of what they leave (none: as `convert` is asked)."""

    step: tuple[AnyStep, ...] = ()
    variants: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The recipe's whole content, defaults included, for the manifest; empty when it says nothing."""
        content: dict[str, Any] = msgspec.to_builtins(self)
        return {key: value for key, value in content.items() if value}


GivenRecipe = str | os.PathLike[str] | Mapping[str, Any] | Recipe


def read(given: GivenRecipe) -> Recipe:
    """Read a recipe from a TOML file, or from a mapping of the same keys. Raises ConfigError that names the step."""
    if isinstance(given, Recipe):
        return given
    if isinstance(given, Mapping):
        return _decoded(given, "The recipe")
    path = Path(given)
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"The recipe {path} cannot be read: {error.strerror or error}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The recipe {path} is no TOML file: {one_line(error)}") from error
    return _decoded(content, str(path))


def _decoded(content: Mapping[str, Any], origin: str) -> Recipe:
    """Each step by itself, so that an error can name it."""
    given = content.get("step", [])
    if not (isinstance(given, list | tuple) and all(isinstance(each, Mapping) for each in given)):
        raise ConfigError(f'{origin}: "step" must be a list of tables; write each step as [[step]].')
    steps = tuple(_step(table, f"{origin}, step {number}") for number, table in enumerate(given, 1))
    try:
        rest = msgspec.convert({**content, "step": []}, Recipe)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{origin}: {one_line(error)}. A recipe has [[step]] tables and `variants`.") from error
    return Recipe(steps, rest.variants)


def _step(table: Mapping[str, Any], where: str) -> AnyStep:
    method = table.get("method")
    if method not in METHODS:
        raise ConfigError(f"{where}: there is no method {method!r}; there are {', '.join(METHODS)}.")
    try:
        step: AnyStep = msgspec.convert(table, METHODS[method])
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where} ({method}): {one_line(error)}") from error
    return step
