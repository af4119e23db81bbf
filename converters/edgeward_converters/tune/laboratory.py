"""Where trials are done: the source described once, then one recipe after another, in a worker process.

Everything here sees the calibration and training data only. The evaluation data stays with `tune`, which scores what
was chosen already.
"""

import json
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from edgeward_converters import compressing, evaluate, sources, variants
from edgeward_converters.compress import recipe as recipes
from edgeward_converters.compress.run import Material
from edgeward_converters.data import Arrays, Labelled
from edgeward_converters.events import unheard
from edgeward_converters.quantizers.ladder import ladder
from edgeward_converters.quantizers.litert_mixed_judge import Judge
from edgeward_converters.quantizers.litert_mixed_settings import Basis, Mixed
from edgeward_converters.sources import Source
from edgeward_converters.sources.recognize import Given, recognize
from edgeward_converters.tune.trials import Result
from edgeward_converters.variants import Task
from edgeward_converters.worker import Worker
from edgeward_runtimes import npz
from edgeward_runtimes.benchmark import measure
from edgeward_runtimes.errors import EdgewardError
from edgeward_runtimes.manifest import Tensor
from edgeward_runtimes.model import Model

GOLDEN_SAMPLES = 16
GOLDEN = "golden.npz"  # what a trial's model, after its steps, answers to the golden inputs
_HELD_BACK = 4000
_RUNS = 100
Files = dict[str, bytes]


class Assignment(Struct, frozen=True):
    """What a laboratory works on; it travels to other machines.

    Attributes:
        source: The model, as `convert` takes it; where there are several machines, a path that each of them has.
        calibration: Arrays by input name, of which a part is held back to judge by.
        y: What is true of them, None where that is not known.
        training: For steps that train, None where there is none.
        metric, max_drop, seed: As for `convert`.
    """

    source: Any
    calibration: Arrays
    y: NDArray[Any] | None
    training: Labelled | None
    metric: str
    max_drop: float
    seed: int


class Place(Struct, frozen=True):
    """Where a source is described: the folder of its form, and the worker that has its framework."""

    folder: Path
    worker: Worker
    given: Given
    source: Source


def described(source: Any, stack: ExitStack) -> Place:
    """Describe a source; folder and worker go with the stack. Raises SourceError."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeward-tune-")))
    worker = stack.enter_context(Worker())
    given = recognize(source, folder, None)
    return Place(folder, worker, given, worker.run(sources.describe, given, folder))


class Laboratory:
    """One machine's; use it as a context."""

    def __init__(self, assignment: Assignment, place: Place | None = None) -> None:
        """Describe the source, unless that is done, and ask for its answers. Raises SourceError, ConfigError."""
        self._assignment = assignment
        self._stack = ExitStack()
        place = place or described(assignment.source, self._stack)
        self._folder, self._worker, self._given, source = place.folder, place.worker, place.given, place.source
        golden = {name: array[:GOLDEN_SAMPLES] for name, array in assignment.calibration.items()}
        basis = Basis(
            assignment.calibration, assignment.y, source.inputs, source.outputs, assignment.metric, assignment.max_drop
        )
        held, y = basis.held_back(_HELD_BACK)
        self._held = held
        reference = self._worker.run(sources.answers, source, held)[source.outputs[0].name]
        self._judge = Judge(reference, y, assignment.metric)
        task = Task(
            source=source,
            folder=self._folder,
            golden=(golden, self._worker.run(sources.answers, source, golden)),
            calibration=assignment.calibration,
            evaluation=None,
            metric=assignment.metric,
            source_metric=0.0,
            higher_is_better=True,
            max_drop=assignment.max_drop,
            calibration_y=assignment.y,
        )
        self._fitted = basis.fitted()
        self._tasks: dict[str, Task] = {"[]": task}

    def __enter__(self) -> "Laboratory":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, place: int, recipe: dict[str, Any]) -> tuple[Result, Files]:
        """Do a trial; what fails in it is its reason. The files are its artifact's, and the golden answers."""
        started = time.monotonic()
        result = Result(place, recipe)
        try:
            result, files = self._tried(result)
        except EdgewardError as error:
            result, files = replace(result, reason=str(error)), {}
        except ModuleNotFoundError as error:
            result, files = replace(result, reason=f"needs the package {error.name!r}"), {}
        return replace(result, seconds=round(time.monotonic() - started, 2)), files

    def _tried(self, result: Result) -> tuple[Result, Files]:
        engine, precision = variants.split(result.variant)
        task = self._stepped(result.recipe.get("step", []))
        task = replace(task, mixed=Mixed(**result.recipe.get("mixed", {})))
        if precision != "mixed":  # which holds back samples itself
            task = replace(task, calibration=self._fitted)
        rung = ladder(engine, precision, calibrated=True, given=task.source.precision)[0]
        paths, kind = variants.artifact(self._worker, task, engine, rung, result.variant, unheard)
        answers, latency_ms = self._worker.run(
            examine, paths[0], engine, task.source.inputs, task.source.outputs, task.golden[0], self._held
        )
        verdict = self._judge(answers)
        files = {path.name: path.read_bytes() for path in paths}
        found = replace(
            result,
            size_bytes=sum(map(len, files.values())),
            drop=verdict.drop,
            bound=verdict.bound,
            latency_ms=latency_ms,
            quantization=kind,
            files=tuple(files),
        )
        return found, {**files, GOLDEN: npz.encode(task.golden[1])}

    def _stepped(self, steps: list[dict[str, Any]]) -> Task:
        """The task of what the steps leave; the same steps are taken once."""
        key = json.dumps(steps, sort_keys=True)
        if key not in self._tasks:
            self._tasks[key] = self._with_steps(steps, self._folder / f"steps-{len(self._tasks)}")
        return self._tasks[key]

    def _with_steps(self, steps: list[dict[str, Any]], folder: Path) -> Task:
        given, before = self._assignment, self._tasks["[]"]
        material = Material(given.training, given.calibration, None, given.metric, given.max_drop, given.seed)
        folder.mkdir()
        source = replace(before.source, canonical=folder / before.source.canonical.name)
        recipe = recipes.read({"step": steps})
        left, _ = compressing.take_steps(self._worker, given.source, self._given, source, recipe, material, unheard)
        golden = (before.golden[0], self._worker.run(sources.answers, left, before.golden[0]))
        left = replace(left, sha256=before.source.sha256)
        return replace(before, source=left, folder=folder, golden=golden, exported={}, tried={})


def examine(
    artifact: Path,
    engine: str,
    inputs: tuple[Tensor, ...],
    outputs: tuple[Tensor, ...],
    golden: Arrays,
    held: Arrays,
) -> tuple[NDArray[Any], float]:
    """An artifact's first output for the samples held back, and its median latency in ms. Runs in the worker."""
    with Model.of(artifact, engine, inputs, outputs) as model:
        latency_ms = measure(model, golden, runs=_RUNS).p50_ms
        return np.asarray(evaluate.predict_all(model, held)[outputs[0].name]), latency_ms
