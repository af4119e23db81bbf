"""What a device's owner wants of a model's observation: `observation/NAME/settings.json` under the device's home.

Observers read it again every few seconds, so it holds for processes that run already. Beside it lies `captured/`, for
its owner's eyes alone.
"""

import os
import time
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from edgeward_runtimes.engines import StrPath
from edgeward_runtimes.errors import ConfigError
from edgeward_runtimes.release import check_name

if TYPE_CHECKING:
    from edgeward_runtimes.home import Home

FOLDER = "observation"  # under $EDGEWARD_RUN: the files of observers; under $EDGEWARD_HOME: a folder for each model

Share = Annotated[float, Meta(ge=0, le=1)]


class Capture(Struct, frozen=True, forbid_unknown_fields=True):
    """Which observed samples are kept on the device, and how many for how long.

    Attributes:
        margin: Keep what the model is uncertain of: where the best class is ahead of the second by less than this.
        drifted: Keep what lies outside all that the bundle's reference has seen.
        rate: Keep this share of all samples.
        size_mb, samples: The most that is kept; the oldest go first.
        days: What is older is removed.
    """

    margin: Share = 0.2
    drifted: bool = True
    rate: Share = 0.0
    size_mb: Annotated[float, Meta(gt=0, le=200)] = 64.0
    samples: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    days: Annotated[float, Meta(gt=0, le=3650)] = 7.0


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file. Nothing is captured where `capture` is None; what was counted before `reset` (Unix ms) is not."""

    capture: Capture | None = None
    reset: int = 0


def counted(run: StrPath) -> str:
    """Where observers count."""
    return f"{os.fspath(run)}/{FOLDER}"


def captured(root: StrPath, model: str) -> str:
    """Where a model's samples are kept."""
    return f"{_folder(root, model)}/captured"


def decode(content: bytes) -> Settings:
    """Read the file's content. Raises ValueError."""
    try:
        return msgspec.json.decode(content, type=Settings)
    except UnicodeDecodeError as error:
        raise ValueError(str(error)) from None


def read(root: StrPath, model: str) -> Settings:
    """The settings of a model; nothing is captured where there are none, or none that can be read."""
    try:
        with open(_file(root, model), "rb") as stream:
            return decode(stream.read())
    except (OSError, ValueError):
        return Settings()


def set_capture(home: "Home", model: str, capture: Capture | None) -> None:
    """Begin or end to capture. Raises NotInstalledError for what is no model's name, OSError."""
    _write(home, model, replace(read(home.root, model), capture=capture))


def reset(home: "Home", model: str) -> None:
    """Have everything that was counted of a model forgotten. Raises as `set_capture`."""
    _write(home, model, replace(read(home.root, model), reset=int(time.time() * 1000)))


def capture_of(given: object) -> Capture:
    """Check settings that came from elsewhere. Raises ConfigError."""
    try:
        return msgspec.convert(given, Capture)
    except msgspec.ValidationError as error:
        raise ConfigError(f"These are no settings to capture by: {error}.") from None


def _folder(root: StrPath, model: str) -> str:
    return f"{os.fspath(root)}/{FOLDER}/{model}"


def _file(root: StrPath, model: str) -> str:
    return f"{_folder(root, model)}/settings.json"


def _write(home: "Home", model: str, settings: Settings) -> None:
    from pathlib import Path  # not for observers, who only read

    from edgeward_runtimes.durable import write_atomically

    check_name(model)
    write_atomically(Path(_file(home.root, model)), msgspec.json.encode(settings))
