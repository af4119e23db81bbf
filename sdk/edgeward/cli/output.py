"""How the command line speaks: tables and progress to people, one JSON document to scripts."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgeward_converters.report import Outcome, Report
from edgeward_runtimes.errors import ConfigError

# Into a file or a pipe there is no terminal whose width would have to be kept.
_WIDTH = None if sys.stdout.isatty() else 160
people = Console(width=_WIDTH)  # answers
chatter = Console(stderr=True)  # progress and messages: never in the way of an answer

KEPT, PASSED, FAILED = Text("kept", "green"), Text("passed", "green"), Text("failed", "red")
ONLINE, OFFLINE = Text("online", "green"), Text("offline", "red")


def answer_json(document: object) -> None:
    """Print one JSON document on stdout, alone."""
    typer.echo(msgspec.json.encode(document).decode())


def check_writable(path: Path) -> None:
    """Refuse, before long work, a file that could not be written after it. Raises ConfigError."""
    place = next((folder for folder in (path, *path.absolute().parents) if folder.exists()), path)
    if path.is_dir() or (place != path and not place.is_dir()) or not os.access(place, os.W_OK):
        reason = "it is a folder" if path.is_dir() else f"{place} is not a folder that can be written to"
        raise ConfigError(f"{path} cannot be written: {reason}. Name another file with -o.")


def complain(message: str) -> None:
    """Print one line on stderr, whole, however narrow the terminal."""
    chatter.print(Text.assemble(("error: ", "bold red"), " ".join(message.split())), soft_wrap=True)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> None:
    """Print a table; columns whose heading ends with a unit or a number sign are aligned right.

    A cell is shown as it is: brackets in it are no markup, as names and reasons come from elsewhere.
    """
    grid = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        numeric = column.endswith(
            (" ms", " MB", " s", " kB", "%", "predictions", "errors", "drop", "parameters", "MACs")
        )
        grid.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    people.print(grid)


def number(value: float | None, digits: int = 3) -> str:
    """A number to so many significant digits, or a dash for none."""
    return "–" if value is None else f"{value:.{digits}g}"


def _verdict(outcome: Outcome) -> Text:
    if not outcome.kept:
        return Text.assemble(("left out: ", "yellow"), outcome.remark)
    return KEPT if not outcome.remark else Text.assemble(KEPT, " ", (outcome.remark, "yellow"))


def show_conversion(report: Report) -> None:
    """Print a conversion's report as tables."""
    people.print(
        f"[bold]{report.name}[/] {report.version}: source model {report.metric} {report.source_metric:.4f} "
        f"on {report.samples} samples"
    )
    if report.stages:
        stages = [
            (each.method, f"{each.parameters:,}", f"{each.macs / 1e6:.3f}", number(each.metric, 4))
            for each in report.stages
        ]
        table("Recipe", ("after", "parameters", "million MACs", report.metric), stages)
        table("Before", _columns(report), [_cells(each) for each in report.before])
    table("Variants", _columns(report), [_cells(each) for each in report.variants])


def _columns(report: Report) -> tuple[str, ...]:
    return ("variant", "quantization", "size kB", report.metric, "drop", "p50 ms", "")


def _cells(outcome: Outcome) -> tuple[str | Text, ...]:
    return (
        outcome.id,
        outcome.quantization or "–",
        "–" if outcome.size_bytes is None else f"{outcome.size_bytes / 1e3:.1f}",
        "–" if outcome.metric is None else f"{outcome.metric:.4f}",
        "–" if outcome.drop is None else f"{outcome.drop:+.4f}",
        number(outcome.latency_ms),
        _verdict(outcome),
    )
