"""A conversion's progress: one row per variant, on stderr."""

from types import TracebackType

from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from edgeward.cli.output import chatter
from edgeward_converters import Outcome
from edgeward_converters.events import Event, Finished, Started, Stepping

_SOURCE = "source"


class ConversionProgress:
    """Call it with events; use it as a context."""

    def __init__(self) -> None:
        self._rows: dict[str, TaskID] = {}
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description:<18}"),
            TextColumn("{task.fields[step]}", style="dim"),
            TimeElapsedColumn(),
            console=chatter,
        )

    def __enter__(self) -> "ConversionProgress":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Started):
            if event.variant is not None:
                self._finish(_SOURCE, "loaded")
            self._row(event.variant or _SOURCE, event.step)
        elif isinstance(event, Stepping):
            self._finish(_SOURCE, "loaded")
            self._row(event.method, f"{event.what} {event.done:.0%}", event.done)
        elif isinstance(event, Finished):
            self._finish(event.outcome.asked, _became(event.outcome))

    def _row(self, name: str, step: str, done: float = 0.0) -> None:
        if name in self._rows:
            self._progress.update(self._rows[name], step=step, completed=done)
        else:
            self._rows[name] = self._progress.add_task(name, total=1, step=step)

    def _finish(self, name: str, step: str) -> None:
        if name in self._rows:
            self._progress.update(self._rows[name], step=step, completed=1)


def _became(outcome: Outcome) -> str:
    """What a request came to, in a few words."""
    if not outcome.kept:
        return f"[yellow]left out:[/] {escape(outcome.remark)}"
    return "kept" if outcome.fallback is None else f"kept as {outcome.id}: {escape(outcome.remark)}"
