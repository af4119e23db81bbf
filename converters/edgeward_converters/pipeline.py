"""`convert`: describe → answer → take a recipe's steps → make every variant → one bundle of what was kept."""

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from edgeward_converters import (
    compressing,
    data,
    evaluate,
    metrics,
    options,
    pictures,
    report_layers,
    report_page,
    sources,
)
from edgeward_converters.assemble import assemble
from edgeward_converters.compress import recipe as recipes
from edgeward_converters.compress.run import Material
from edgeward_converters.data import Arrays, Data
from edgeward_converters.events import Progress, Started, unheard
from edgeward_converters.metrics import Metric
from edgeward_converters.report import Report
from edgeward_converters.sources import Source
from edgeward_converters.sources.recognize import Given, recognize, usable_name
from edgeward_converters.variants import Task, make, split
from edgeward_converters.worker import Worker
from edgeward_runtimes import bundle as bundles
from edgeward_runtimes.bundle import Bundle
from edgeward_runtimes.errors import ConversionError, SourceError
from edgeward_runtimes.manifest import Manifest, Preprocess, Tensor

GOLDEN_SAMPLES = 16
REFERENCE_SAMPLES = 2000
_FRAMEWORKS = {
    "keras": "Keras",
    "saved_model": "TensorFlow",
    "torch": "PyTorch",
    "onnx": "onnxruntime",
    "tflite": "LiteRT",
}


class Conversion(Struct, frozen=True):
    """A finished conversion. The bundle's file lives as long as this object; save it elsewhere to keep it."""

    bundle: Bundle
    report: Report


def convert(
    source: Any,
    *,
    signature: str | None = None,
    name: str | None = None,
    version: str = "1.0.0",
    targets: Iterable[str] = (),
    variants: Sequence[str] | None = None,
    calibration: data.Calibration | None = None,
    evaluation: data.Evaluation | None = None,
    training: data.Evaluation | None = None,
    recipe: recipes.GivenRecipe | None = None,
    metric: str = "accuracy",
    max_drop: float = 0.01,
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    preprocess: Preprocess | str | os.PathLike[str] | None = None,
    seed: int = 0,
    report: Path | None = None,
    progress: Progress = unheard,
    worker: Worker | None = None,
) -> Conversion:
    """Convert a trained model to a bundle of variants, each proved against it.

    Args:
        source: A `.keras`, `.h5`, `.pt2`, `.onnx` or `.tflite` file, a SavedModel folder, `module:function`, or a live
            object: a keras.Model, `(module, example_inputs)` of PyTorch, or a callable that gives such a pair.
        signature: Which signature of a SavedModel; by default its only one, or `serving_default`.
        name: The model's name on devices; by default the file's.
        version: The release's version.
        targets: Names of target profiles, whose variants are made; by default all six.
        variants: Exactly these variants, as `ENGINE-PRECISION`.
        calibration: Inputs (an .npz path, a dict by input name, or an array), from which int8 ranges are found and
            golden samples taken. Without it int8 is dynamic.
        evaluation: Inputs with `y`, as .npz, dict, or `(x, y)`; the metric is measured on them. Without it the metric
            is the mean cosine similarity to the source's outputs on the golden samples.
        training: Inputs with `y`, as for the evaluation, for a recipe's steps to train on.
        recipe: Steps to take before the variants are made, and the variants: a TOML file, a mapping of its keys, or a
            `Recipe`. `variants` and `targets` go before its own.
        metric: accuracy, top5_accuracy, mae or mse, of the first output.
        max_drop: How much worse than the source's a variant's metric may be, in the metric's unit; at least 0. It holds
            over the whole recipe.
        labels: Class names by index, or a text file with one a line.
        preprocess: How a picture becomes the input: a `Preprocess`, a TOML file of its keys, or the name of one of
            `edgeward_converters.pictures.PRESETS`.
        seed: For the golden inputs where no data is given.
        report: A folder for `report.html` and `report.json`.
        progress: Called with events as they happen.
        worker: A warm one, for several conversions in a row; by default one of its own.

    Raises:
        SourceError: When the source cannot be read.
        InputError: When the data does not fit it.
        ConfigError: When an option cannot be met, before anything is run.
        ConversionError: When no variant is kept; it gives each one's reason.
    """
    steps = recipes.read(recipe) if recipe is not None else recipes.Recipe()
    wanted = options.wanted(targets, variants if variants is not None or targets else steps.variants or None)
    compressing.check_data(steps, training=training, calibration=calibration, evaluation=evaluation)
    judged_by = metrics.get(metric)
    max_drop = options.max_drop(max_drop)
    name = None if name is None else options.name("name", name)
    version = options.name("version", version)
    labels = None if labels is None else pictures.labels(labels)
    preprocess = None if preprocess is None else pictures.preprocess(preprocess)
    report = None if report is None else options.report_folder(Path(report))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeward-convert-")))
        worker = worker or stack.enter_context(Worker())
        progress(Started(None, "load"))
        given = recognize(source, folder, signature)
        with _naming(given):
            described = worker.run(sources.describe, given, folder)
        if preprocess is not None:
            pictures.check_preprocess(preprocess, described.inputs)
        if labels is not None:
            pictures.check_labels(labels, described.outputs)
        found = data.read(described.inputs, calibration, evaluation, training)
        task = _task(worker, described, folder, found, judged_by, max_drop, seed)
        summary = _summary(task, given, name, version)
        if steps.step:
            task, summary = _compressed(worker, task, found, steps, source, given, wanted, summary, seed, progress)
        made = [make(worker, task, variant_id, progress) for variant_id in wanted]
        summary = replace(summary, variants=tuple(each.outcome for each in made))
        if report is not None:
            looked_into = report_layers.of_variants(worker, task, made, progress)
            report_page.write(replace(summary, layers=looked_into), report)
        kept = [each for each in made if each.outcome.kept]
        if not kept:
            reasons = "; ".join(f"{each.outcome.id}: {each.outcome.reason}" for each in made)
            raise ConversionError(f"No variant of {summary.name} can be shipped. {reasons}.")
        manifest, contents = assemble(task, summary, kept, labels, preprocess, steps.as_dict(), seed)
        return Conversion(_temporary_bundle(manifest, contents), summary)


@contextmanager
def _naming(given: Given) -> Iterator[None]:
    """What goes wrong with the source itself, be it a crash, is a SourceError that names it."""
    try:
        yield
    except SourceError:
        raise
    except ConversionError as error:
        framework = _FRAMEWORKS[given.kind]
        raise SourceError(
            f"The source model {given.named} cannot be loaded and run by {framework} here: {error}"
        ) from error


def _answers(worker: Worker, source: Source, inputs: Arrays) -> Arrays:
    with _naming(Given(source.kind, source.path)):
        return worker.run(sources.answers, source, inputs)


def _steady_answers(worker: Worker, source: Source, inputs: Arrays) -> Arrays:
    with _naming(Given(source.kind, source.path)):
        return worker.run(sources.steady_answers, source, inputs)


def _task(
    worker: Worker,
    source: Source,
    folder: Path,
    found: Data,
    metric: Metric,
    max_drop: float,
    seed: int,
) -> Task:
    """Ask the source for its own answers to the data."""
    evaluating = found.evaluation
    given = found.calibration or (evaluating.inputs if evaluating else _random_inputs(source.inputs, seed))
    golden = {name: array[:GOLDEN_SAMPLES] for name, array in given.items()}
    name, source_metric, higher_is_better = evaluate.COSINE, 1.0, True
    seen = None
    if evaluating is None and found.calibration is not None:
        first = _first(found.calibration)
        seen = (first, _answers(worker, source, first))
    if evaluating is not None:
        answered = _answers(worker, source, evaluating.inputs)
        name, higher_is_better = metric.name, metric.higher_is_better
        source_metric = metric.score(answered[source.outputs[0].name], evaluating.y)
        seen = (_first(evaluating.inputs), _first(answered))
    return Task(
        source=source,
        folder=folder,
        golden=(golden, _steady_answers(worker, source, golden)),
        calibration=found.calibration,
        calibration_y=found.calibration_y,
        seen=seen,
        evaluation=evaluating,
        metric=name,
        source_metric=source_metric,
        higher_is_better=higher_is_better,
        max_drop=max_drop,
    )


def _first(arrays: Arrays) -> Arrays:
    """As many samples as describe a distribution well enough."""
    return {name: array[:REFERENCE_SAMPLES] for name, array in arrays.items()}


def _random_inputs(inputs: tuple[Tensor, ...], seed: int) -> Arrays:
    """Golden inputs where no data is given: standard normal floats, small integers; open axes get 8 elements."""
    random = np.random.default_rng(seed)
    arrays: Arrays = {}
    for tensor in inputs:
        shape = (GOLDEN_SAMPLES, *(size or 8 for size in tensor.shape[1:]))
        is_float = np.dtype(tensor.dtype).kind == "f"
        drawn = random.normal(size=shape) if is_float else random.integers(0, 2, size=shape)
        arrays[tensor.name] = drawn.astype(tensor.dtype)
    return arrays


def _compressed(
    worker: Worker,
    task: Task,
    found: Data,
    recipe: recipes.Recipe,
    live: Any,
    given: Given,
    wanted: Sequence[str],
    summary: Report,
    seed: int,
    progress: Progress,
) -> tuple[Task, Report]:
    """Take the recipe's steps; the task of what they leave, judged as the source is, and what was there before."""
    compressing.check_apart(found)
    engines = dict.fromkeys(split(variant_id)[0] for variant_id in wanted)
    progress(Started(None, "measure the source"))
    before = tuple(make(worker, task, f"{engine}-fp32", unheard).outcome for engine in engines)
    material = Material(found.training, found.calibration, found.evaluation, task.metric, task.max_drop, seed)
    source, stages = compressing.take_steps(worker, live, given, task.source, recipe, material, progress)
    folder = source.canonical.parent
    golden = (task.golden[0], _answers(worker, source, task.golden[0]))
    source = replace(source, sha256=task.source.sha256)
    calibration, y = compressing.judged_on_held_back(found, seed)
    after = replace(
        task,
        source=source,
        folder=folder,
        golden=golden,
        calibration=calibration,
        calibration_y=y,
        exported={},
        tried={},
    )
    return after, replace(summary, stages=stages, before=before)


def _summary(task: Task, given: Given, name: str | None, version: str) -> Report:
    """The report so far: the source alone."""
    measured_on = task.evaluation.inputs if task.evaluation else task.golden[0]
    return Report(
        name=name or usable_name(given.path.stem),
        version=version,
        source=given.function or given.path.name,
        source_bytes=_size(task.source.path),
        metric=task.metric,
        source_metric=task.source_metric,
        samples=len(next(iter(measured_on.values()))),
        max_drop=task.max_drop,
        variants=(),
    )


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(file.stat().st_size for file in files)


def _temporary_bundle(manifest: Manifest, contents: dict[str, bytes]) -> Bundle:
    """Write the bundle into a folder that goes when the bundle object does."""
    folder = Path(tempfile.mkdtemp(prefix="edgeward-bundle-"))
    bundle = bundles.write(folder / f"{manifest.name}.edge", manifest, contents)
    weakref.finalize(bundle, shutil.rmtree, folder, ignore_errors=True)
    return bundle
