"""Doing the trials that a search wants: those in the journal are taken from it, the rest are done, in order."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from edgeward_converters.tune.laboratory import Assignment, Files, Place
from edgeward_converters.tune.scoring import Scoring, trial_folder
from edgeward_converters.tune.spread import Crew, Job, crew
from edgeward_converters.tune.trials import Result
from edgeward_targets.device import Device

Progress = Callable[[Result, int], None]  # a finished trial, and how many there will be


class Plan(Struct, frozen=True):
    """How the trials are done.

    Attributes:
        about: What makes two searches the same.
        wanted: Ids of the variants to choose from.
        has_steps: Whether the source can be trained.
        trials: How many.
        seconds: No trial begins after so many; None where there is no limit.
        workers: None, `ray` or `ray://…`.
        device: Where latency is measured; None where the trial was done.
    """

    about: dict[str, Any]
    wanted: Sequence[str]
    has_steps: bool
    trials: int
    seconds: float | None
    workers: str | None
    device: Device | None


class _Trying:
    """The trials of one search."""

    def __init__(self, folder: Path, plan: Plan, scoring: Scoring, progress: Progress) -> None:
        from edgeward_converters.tune.journal import Journal

        self._folder, self._plan, self._scoring, self._progress = folder, plan, scoring, progress
        self._journal = Journal(folder, plan.about, plan.wanted, has_steps=plan.has_steps)
        self.done = self._journal.results()

    def is_complete(self) -> bool:
        return all(number in self.done for number in range(self._plan.trials))

    def show_done(self) -> None:
        for number in sorted(self.done):
            if number < self._plan.trials:
                self._progress(self.done[number], self._plan.trials)

    def batch(self, number: int, size: int, those: Crew, until: float) -> bool:
        """Do what a batch has left to do; whether there was time for all of it."""
        recipes = self._journal.ask(number)
        able = [each for each in enumerate(recipes, number * size) if each[0] < self._plan.trials]
        jobs = [each for each in able if each[0] not in self.done]
        fresh = [job for index, job in enumerate(jobs) if self._same(job[1], jobs[:index]) is None]
        finished = those.results(fresh)
        for job in jobs:
            if job not in fresh:
                self._repeat(*job)
            elif self.done and time.monotonic() > until:
                return False
            else:
                self._finish(job[0], *next(finished))
        return True

    def _finish(self, number: int, result: Result, files: Files) -> None:
        _keep(trial_folder(self._folder, number), files)
        self._tell(number, self._timed(result))

    def _repeat(self, number: int, recipe: dict[str, Any]) -> None:
        before = self._same(recipe, [])
        assert before is not None  # noqa: S101  # it was there when fresh was made, or is by now
        _keep(trial_folder(self._folder, number), _files(trial_folder(self._folder, before)))
        self._tell(number, replace(self.done[before], place=number, seconds=0.0))

    def _tell(self, number: int, result: Result) -> None:
        self._journal.tell(result)
        self.done[number] = result
        self._progress(result, self._plan.trials)

    def _same(self, recipe: dict[str, Any], jobs: Sequence[Job]) -> int | None:
        """The first trial of the same recipe."""
        known = [*((number, each.recipe) for number, each in sorted(self.done.items())), *jobs]
        return next((number for number, each in known if each == recipe), None)

    def _timed(self, result: Result) -> Result:
        device = self._plan.device
        if device is None or result.reason is not None:
            return result
        latency_ms = self._scoring.latency_on(device, result)
        if latency_ms is None:
            return replace(result, reason=f"does not run on {device.url}")
        return replace(result, latency_ms=latency_ms)


def tried(
    folder: Path, plan: Plan, assignment: Assignment, place: Place, scoring: Scoring, progress: Progress
) -> list[Result]:
    """The results of so many trials as were asked for, or as there was time for: of one at least."""
    from edgeward_converters.tune.journal import BATCH

    until = time.monotonic() + (float("inf") if plan.seconds is None else plan.seconds)
    trying = _Trying(folder, plan, scoring, progress)
    trying.show_done()
    if not trying.is_complete():
        with crew(plan.workers, assignment, place, BATCH) as those:
            for number in range(-(-plan.trials // BATCH)):
                if not trying.batch(number, BATCH, those, until):
                    break
    return [trying.done[number] for number in sorted(trying.done) if number < plan.trials]


def _keep(folder: Path, files: Files) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _files(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}
