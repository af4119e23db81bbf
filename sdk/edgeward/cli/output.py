"""How the command line speaks: tables and progress to people, one JSON document to scripts."""

import sys
from collections.abc import Sequence

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from edgeward_converters.report import Report

# Into a file or a pipe there is no terminal whose width would have to be kept.
_WIDTH = None if sys.stdout.isatty() else 160
people = Console(width=_WIDTH)  # answers
chatter = Console(stderr=True)  # progress and messages: never in the way of an answer


def answer_json(document: object) -> None:
    """Print one JSON document on stdout, alone."""
    typer.echo(msgspec.json.encode(document).decode())


def complain(message: str) -> None:
    """Print one line on stderr, whole, however narrow the terminal."""
    chatter.print(Text.assemble(("error: ", "bold red"), " ".join(message.split())), soft_wrap=True)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; columns whose heading ends with a unit or a number sign are aligned right."""
    grid = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        numeric = column.endswith((" ms", " MB", " s", " kB", "%", "predictions", "errors", "drop"))
        grid.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        grid.add_row(*row)
    people.print(grid)


def number(value: float | None, digits: int = 3) -> str:
    """A number to so many significant digits, or a dash for none."""
    return "–" if value is None else f"{value:.{digits}g}"


def show_conversion(report: Report) -> None:
    """Print a conversion's report as a table."""
    rows = [
        (
            outcome.id,
            outcome.quantization or "–",
            "–" if outcome.size_bytes is None else f"{outcome.size_bytes / 1e3:.1f}",
            "–" if outcome.metric is None else f"{outcome.metric:.4f}",
            "–" if outcome.drop is None else f"{outcome.drop:+.4f}",
            number(outcome.latency_ms),
            "[green]kept[/]" if outcome.kept else f"[yellow]left out:[/] {escape(outcome.reason or '')}",
        )
        for outcome in report.variants
    ]
    people.print(
        f"[bold]{report.name}[/] {report.version}: source model {report.metric} {report.source_metric:.4f} "
        f"on {report.samples} samples"
    )
    table("Variants", ("variant", "quantization", "size kB", report.metric, "drop", "p50 ms", ""), rows)
