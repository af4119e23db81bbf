"""What the self-test found on this device, kept beside the release as `choice.json`."""

import os
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from edgeward_runtimes.benchmark import Timing
from edgeward_runtimes.engines import StrPath
from edgeward_runtimes.golden import Check
from edgeward_runtimes.model import Choice

if TYPE_CHECKING:
    from pathlib import Path

FILE = "choice.json"


class Trial(Struct, frozen=True):
    """What one variant did here, in a process of its own.

    The check against the golden samples always; once it could be run, also how fast it predicts, how many seconds its
    engine took to import and open it, and the process's peak resident memory (MB of 10^6 bytes). `timing` is that with
    the number of threads that was fastest, `threads` (None: the engine's own); `runs_on` and `warning` are the
    session's placement.
    """

    check: Check
    timing: Timing | None = None
    threads: int | None = None
    runs_on: tuple[str, ...] = ("cpu",)
    warning: str | None = None
    load_s: float | None = None
    peak_rss_mb: float | None = None


class SelfTest(Struct, frozen=True):
    """A passed self-test: every variant's trial, and the choice made from them."""

    choice: Choice
    trials: tuple[Trial, ...]


def write(folder: "Path", result: SelfTest) -> None:
    """Keep the result in a release's folder."""
    from edgeward_runtimes.durable import write_atomically

    write_atomically(folder / FILE, msgspec.json.format(msgspec.json.encode(result), indent=2))


def read(folder: StrPath) -> SelfTest | None:
    """The result kept in a release's folder, or None where nothing was installed."""
    try:
        with open(os.path.join(folder, FILE), "rb") as stream:
            return msgspec.json.decode(stream.read(), type=SelfTest)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
