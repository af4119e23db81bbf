"""What is shown of devices: a row of progress each, tables of what runs there, and what was done."""

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from edgeward.cli.output import FAILED, PASSED, answer_json, chatter, complain, number, people, table
from edgeward_runtimes.commands import Status
from edgeward_runtimes.install.installer import Installed
from edgeward_runtimes.install.journal import Change
from edgeward_targets import device
from edgeward_targets.many import Outcome


class DevicesProgress:
    """One row per device, on stderr; safe to tell from many threads."""

    def __init__(self) -> None:
        self._rows: dict[str, TaskID] = {}
        self._lock = threading.Lock()
        self._progress = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}"),
            BarColumn(20),
            TextColumn("{task.fields[doing]}", style="dim"),
            TimeElapsedColumn(),
            console=chatter,
            transient=True,
        )

    def __enter__(self) -> "DevicesProgress":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def of(self, url: str) -> device.Progress:
        """What tells the row of one device."""

        def tell(doing: str, done: float) -> None:
            self._progress.update(self._row(url), doing=doing, completed=done)

        return tell

    def ended(self, outcome: Outcome[Any]) -> None:
        """Show that a device is done."""
        doing = "[green]done[/]" if outcome.is_success else f"[red]{escape(str(outcome.error))}[/]"
        self._progress.update(self._row(outcome.url), doing=doing, completed=1)

    def _row(self, url: str) -> TaskID:
        with self._lock:
            if url not in self._rows:
                self._rows[url] = self._progress.add_task(escape(url), total=1, doing="waiting")
            return self._rows[url]


def show_outcomes(outcomes: Sequence[Outcome[Any]], told: Callable[[Any], str], *, json: bool) -> None:
    """Tell how it went on each of many devices; exit code 1 when it failed on one."""
    if json:
        answer_json({"devices": outcomes})
    elif outcomes:
        rows = [
            (each.url, PASSED if each.is_success else FAILED, f"{each.seconds:.1f}", _told(each, told))
            for each in outcomes
        ]
        table("Devices", ("device", "", "took s", ""), rows)
    failed = sum(not each.is_success for each in outcomes)
    if failed:
        complain(
            f"{failed} of {len(outcomes)} devices failed. The others are done; the same command again takes the rest."
        )
        raise typer.Exit(1)


def _told(outcome: Outcome[Any], told: Callable[[Any], str]) -> str:
    return told(outcome.result) if outcome.is_success else str(outcome.error)


def show_installed(url: str, installed: Installed, *, selftest: bool = False) -> None:
    """Tell what a device runs now, and how its self-test went."""
    if installed.replaced == installed.release:
        people.print(f"{escape(url)} already runs {installed.name} {installed.release}.")
    else:
        before = f" (before: {installed.replaced})" if installed.replaced else ""
        people.print(f"{escape(url)} now runs [bold]{installed.name} {installed.release}[/]{before}.")
    if not selftest or installed.selftest is None:
        return
    rows = [
        (
            trial.check.id,
            PASSED if trial.check.passed else FAILED,
            number(trial.timing.p50_ms if trial.timing else None),
            ", ".join(trial.runs_on) if trial.timing else "",
            trial.check.reason or trial.warning or "",
        )
        for trial in installed.selftest.trials
    ]
    table("Self-test on the device", ("variant", "", "p50 ms", "on", ""), rows)
    choice = installed.selftest.choice
    people.print(f"It runs [bold]{choice.id}[/]: {escape(choice.reason)}.")


def show_status(url: str, found: Status) -> None:
    """Tell what is installed on a device."""
    people.print(
        f"{escape(url)}: edgeward {found.edgeward_version}, Python {found.python_version}, "
        f"{found.architecture}; engines: {', '.join(found.engines) or 'none'}"
    )
    rows = [
        (
            model.name,
            model.release,
            model.previous or "–",
            model.variant or "–",
            ", ".join(model.runs_on) or "–",
            "; ".join(filter(None, (model.reason, model.warning))),
        )
        for model in found.models
    ]
    if rows:
        table("Models", ("model", "release", "previous", "variant", "on", "why"), rows)
    else:
        people.print(f"No models are installed. Next: edgeward flash BUNDLE {url}", markup=False)


def show_history(url: str, journals: Mapping[str, Sequence[Change]]) -> None:
    """Tell what was done on a device, model by model."""
    for name, changes in journals.items():
        rows = [
            (
                f"{datetime.fromtimestamp(change.began).astimezone():%Y-%m-%d %H:%M:%S}",
                change.action,
                change.release,
                change.replaced or "–",
                change.outcome,
                f"{change.took_s:.1f}",
                "; ".join(filter(None, (change.reason, change.health))),
            )
            for change in changes
        ]
        table(f"{url}: {name}", ("when", "what", "release", "from", "", "took s", ""), rows)
    if not journals:
        people.print(f"{url}: no models are installed.", markup=False)
