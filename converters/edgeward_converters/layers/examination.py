"""One variant of a bundle, walked layer by layer beside what it should be. Runs in the worker: it opens both.

The caller says what a variant is compared with: float variants that are right (for a quantized one that of its own
engine, whose tensors have the same names), or else the source. Where both are given, the source lends its names.

A few samples tell enough: those on which the variant errs most, as many as fit into `_BUDGET_BYTES`.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from edgeward_converters import evaluate
from edgeward_converters.data import Arrays
from edgeward_converters.layers.counterparts import match
from edgeward_converters.layers.departure import largest_error, locate
from edgeward_converters.layers.finding import Finding
from edgeward_converters.layers.graph import Tracer
from edgeward_converters.layers.tracing import (
    OUTPUT,
    Layer,
    engine_errors,
    layers_of,
    open_artifact,
    open_source,
    samples,
    samples_within,
    source_errors,
    stacked,
)
from edgeward_converters.sources import Source
from edgeward_runtimes.errors import ConfigError
from edgeward_runtimes.golden import compare, within
from edgeward_runtimes.manifest import Tensor, Tolerance
from edgeward_runtimes.model import Model

_BUDGET_BYTES = 128 * 2**20
_MOST_SAMPLES = 4
_OTHER_MODEL = 0.01  # of an output's scale: a source that is further off is not the bundle's


class Artifact(Struct, frozen=True):
    """A variant's file, and what runs it."""

    id: str
    engine: str
    precision: str
    path: Path


class Task(Struct, frozen=True):
    """What there is to look into.

    Attributes:
        variant: The one examined.
        references: Variants that are right, to compare with; none to compare with the source.
        source: The source model, where it was given.
        inputs: The model's inputs, and `outputs` its outputs, as in the manifest.
        golden: Golden inputs, and the source model's outputs to them.
        tolerance: What each output of the variant is allowed.
    """

    variant: Artifact
    references: tuple[Artifact, ...]
    source: Source | None
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    golden: tuple[Arrays, Arrays]
    tolerance: dict[str, Tolerance]


class Examined(Struct, frozen=True):
    """What came of it: where the variant departs, or a `note` when it does so in no layer; else its largest error."""

    located: Finding | None = None
    largest_error: Finding | None = None
    note: str | None = None


def examine(task: Task) -> Examined:
    """Walk a variant and its references.

    Raises:
        EngineError: When a variant cannot be run, as it is or layer by layer.
        SourceError: When the source cannot be run layer by layer.
        ConfigError: When the source is not the bundle's.
    """
    failing, order = _judged(task)
    variant = task.variant
    chosen, layers = _within_budget(task, order)
    if failing and not _failing(
        task, _outputs(layers), {name: array[chosen] for name, array in task.golden[1].items()}
    ):
        return Examined(note="layer by layer its outputs are right: the fault is in its engine's own optimizations")
    source = [] if task.source is None else _source_layers(task, task.source, chosen)
    references = [layer for each in task.references for layer in _layers(each, _golden(task, chosen), task.outputs)]
    compared = references or source
    if not failing:
        largest = largest_error(compared, layers, variant.precision)
        return Examined(largest_error=_named_by_source(largest, references, source))
    located = locate(compared, layers, failing, variant.precision)
    note = None if located else "no layer stands out: its error grows from layer to layer"
    return Examined(located=_named_by_source(located, references, source), note=note)


def _judged(task: Task) -> tuple[list[str], list[int]]:
    """The outputs that fail as the engine runs them, and the samples, those with the largest errors first."""
    variant, (inputs, expected) = task.variant, task.golden
    with Model.of(variant.path, variant.engine, task.inputs, task.outputs) as model:
        actual = evaluate.predict_all(model, inputs)
    errors = np.zeros(len(next(iter(inputs.values()))))
    for name, reference in expected.items():
        if actual[name].shape == reference.shape:
            rows = np.abs(actual[name].astype(np.float64) - reference).reshape(len(errors), -1).max(1, initial=0.0)
            errors += np.nan_to_num(rows, nan=np.inf) / (task.tolerance[name].max_abs_error or 1.0)
    return _failing(task, actual, expected), np.argsort(-errors, kind="stable").tolist()


def _failing(task: Task, actual: Arrays, expected: Arrays) -> list[str]:
    found = compare(expected, actual)
    return [name for name, comparison in found.items() if not within(comparison, task.tolerance[name])]


def _within_budget(task: Task, order: Sequence[int]) -> tuple[list[int], list[Layer]]:
    """The samples that are looked at, and the variant's layers for them."""
    variant = task.variant
    tracer = open_artifact(variant.engine, variant.path)
    with engine_errors(variant.engine, variant.path):
        first = layers_of(tracer, _golden(task, order[:1]))
        chosen = list(order[: min(_MOST_SAMPLES, samples_within(_BUDGET_BYTES, first))])
        rest = [layers_of(tracer, sample) for sample in samples(_golden(task, chosen[1:]))]
    return chosen, _public(stacked([first, *rest]), task.outputs)


def _layers(artifact: Artifact, inputs: Arrays, outputs: tuple[Tensor, ...]) -> list[Layer]:
    tracer = open_artifact(artifact.engine, artifact.path)
    with engine_errors(artifact.engine, artifact.path):
        return _public(stacked([layers_of(tracer, sample) for sample in samples(inputs)]), outputs)


def _source_layers(task: Task, source: Source, chosen: Sequence[int]) -> list[Layer]:
    """The source's layers, once its outputs are seen to be those of the golden samples."""
    tracer = _opened(source)
    with source_errors(source):
        layers = stacked([layers_of(tracer, sample) for sample in samples(_golden(task, chosen))])
    layers = _public(layers, task.outputs)
    answers = _outputs(layers)
    for name, array in task.golden[1].items():
        expected = array[chosen]
        scale = float(np.abs(expected).max(initial=0.0)) or 1.0
        error = compare({name: expected}, answers)[name].max_abs_error
        if error > _OTHER_MODEL * scale:
            raise ConfigError(
                f"{source.path} gives other answers than the bundle's golden samples: output {name!r} differs by "
                f"{error:.3g} on values up to {scale:.3g}. Pass the model that the bundle was made from."
            )
    return layers


@lru_cache(maxsize=1)
def _opened(source: Source) -> Tracer:
    """The worker stays warm, and so does the source between two variants."""
    return open_source(source)


def _golden(task: Task, chosen: Sequence[int]) -> Arrays:
    return {name: array[list(chosen)] for name, array in task.golden[0].items()}


def _outputs(layers: Sequence[Layer]) -> Arrays:
    """The model's outputs by public name, as if run as one batch."""
    arrays = {name: array for layer in layers for name, array in layer.arrays.items()}
    taken = {layer.name: arrays.get(layer.inputs[0]) for layer in layers if layer.operator == OUTPUT}
    return {name: array.reshape(len(array), *array.shape[2:]) for name, array in taken.items() if array is not None}


def _public(layers: list[Layer], outputs: tuple[Tensor, ...]) -> list[Layer]:
    """Outputs under the manifest's names: by name where all agree, else in order, as the runtime does it."""
    given = [layer.name for layer in layers if layer.operator == OUTPUT]
    wanted = [tensor.name for tensor in outputs]
    if set(given) == set(wanted) or len(given) != len(wanted):
        return layers
    names = dict(zip(given, wanted, strict=True))
    return [replace(each, name=names[each.name]) if each.operator == OUTPUT else each for each in layers]


def _named_by_source(finding: Finding | None, references: Sequence[Layer], source: Sequence[Layer]) -> Finding | None:
    """The finding with the source's name for the layer, where another variant was compared with."""
    if finding is None or not references or not source:
        return finding
    near = [layer for layer in references if layer.name == finding.nearest_source_layer]
    found = match(source, near[:1]).found
    name = next((each.layer for each in found.values()), None)
    return replace(finding, nearest_source_layer=name or finding.nearest_source_layer)
