"""Points of the front on the evaluation data, and as bundles."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from edgeward_converters import metrics, sources, variants
from edgeward_converters.assemble import assemble
from edgeward_converters.data import Labelled
from edgeward_converters.report import Outcome, Report
from edgeward_converters.sources.recognize import usable_name
from edgeward_converters.tune.laboratory import GOLDEN, GOLDEN_SAMPLES, Assignment, Place
from edgeward_converters.tune.trials import Result
from edgeward_converters.variants import Made, Task
from edgeward_runtimes import bundle as bundles
from edgeward_runtimes import npz
from edgeward_runtimes.errors import EdgewardError
from edgeward_targets.device import Device


class Scoring:
    """Scores trials whose artifacts lie in a folder."""

    def __init__(
        self, place: Place, assignment: Assignment, evaluation: Labelled, folder: Path, name: str | None
    ) -> None:
        """Ask the source for its own answers to the evaluation data."""
        self._place, self._folder, self._seed = place, folder, assignment.seed
        source, metric = place.source, metrics.get(assignment.metric)
        answers = place.worker.run(sources.answers, source, evaluation.inputs)[source.outputs[0].name]
        self.source_metric = metric.score(answers, evaluation.y)
        golden = {each: array[:GOLDEN_SAMPLES] for each, array in assignment.calibration.items()}
        self._task = Task(
            source=source,
            folder=place.folder,
            golden=(golden, {}),
            calibration=assignment.calibration,
            evaluation=evaluation,
            metric=metric.name,
            source_metric=self.source_metric,
            higher_is_better=metric.higher_is_better,
            max_drop=assignment.max_drop,
        )
        self.name = name or usable_name(place.given.path.stem)
        self._report = Report(
            name=self.name,
            version="1.0.0",
            source=place.given.function or place.given.path.name,
            source_bytes=_size(source.path),
            metric=metric.name,
            source_metric=self.source_metric,
            samples=len(evaluation.y),
            max_drop=assignment.max_drop,
            variants=(),
        )

    def score(self, result: Result) -> Made:
        """A trial's artifact on the evaluation data, kept or not."""
        engine, precision = variants.split(result.variant)
        outcome = Outcome(id=result.variant, engine=engine, precision=precision, kept=False, seconds=result.seconds)
        folder = self._of(result)
        paths = [folder / name for name in result.files]
        try:
            return variants.measured(self._place.worker, self._task_of(result), outcome, paths, result.quantization)
        except EdgewardError as error:
            return Made(replace(outcome, reason=str(error)))

    def bundle(self, result: Result, made: Made, path: Path) -> None:
        """Write a scored trial as a bundle."""
        report = replace(self._report, variants=(made.outcome,))
        recipe = {key: value for key, value in result.recipe.items() if value}
        manifest, contents = assemble(self._task_of(result), report, [made], None, None, recipe, self._seed)
        bundles.write(path, manifest, contents)

    def latency_on(self, device: Device, result: Result) -> float | None:
        """A trial's median latency on a device, in ms; None when it does not run there. Raises DeviceError."""
        made = self.score(result)
        if not made.files:
            return None
        path = self._place.folder / "measured.edge"
        self.bundle(result, made, path)
        (trial,) = device.examine(path).trials
        return None if trial.timing is None else trial.timing.p50_ms

    def _of(self, result: Result) -> Path:
        return trial_folder(self._folder, result.place)

    def _task_of(self, result: Result) -> Task:
        golden = npz.decode((self._of(result) / GOLDEN).read_bytes())
        return replace(self._task, golden=(self._task.golden[0], golden))


def trial_folder(folder: Path, place: int) -> Path:
    """Where a trial's artifact lies."""
    return folder / "trials" / f"{place:04d}"


def remove_old(folder: Path, names: Sequence[Any]) -> None:
    """Remove the bundles of an earlier front of the same folder."""
    for name in names:
        path = folder / str(name)
        if path.parent == folder and path.suffix == ".edge":
            path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(file.stat().st_size for file in files)
