"""Commands that take one device or many.

One device that is given by its place answers as it did when there was no other way: a table, one JSON document, an
error with exit code 2. Several, or any given with --device, answer with a row each, and exit code 1 when one failed.
"""

from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from edgeward.cli.installing import DevicesProgress
from edgeward_runtimes.errors import ConfigError
from edgeward_targets.device import Device, Progress
from edgeward_targets.many import Outcome, at_once

_Result = TypeVar("_Result")
DeviceUrls = Annotated[
    list[str] | None,
    typer.Argument(metavar="[DEVICE_URL]...", help="local:DIR, ssh://[user@]host[:port] or adb://serial."),
]
MoreDevices = Annotated[list[str] | None, typer.Option("--device", metavar="URL", help="A device; may be repeated.")]
Jobs = Annotated[int, typer.Option(min=1, max=1000, help="How many devices at once.")]


def on_each(
    by_place: list[str] | None,
    by_option: list[str] | None,
    jobs: int,
    rows: DevicesProgress,
    work: Callable[[Device, Progress], _Result],
) -> list[Outcome[_Result]]:
    """Do `work` on every device that was named. Raises ConfigError when none was."""
    urls = list(dict.fromkeys([*(by_place or ()), *(by_option or ())]))
    if not urls:
        raise ConfigError("Name a device: local:DIR, ssh://[user@]host[:port] or adb://serial.")
    return at_once(urls, lambda each: work(each, rows.of(each.url)), jobs=jobs, ended=rows.ended)


def is_one(by_place: list[str] | None, by_option: list[str] | None) -> bool:
    """Whether one device was given by its place, whose answer is the whole answer."""
    return len(by_place or ()) == 1 and not by_option
