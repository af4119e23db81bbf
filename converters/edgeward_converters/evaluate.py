"""An artifact measured by the very runtime that the device uses. Runs in the worker: engines may crash too."""

from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from edgeward_converters import gate, metrics
from edgeward_converters.data import Arrays, Labelled
from edgeward_runtimes.benchmark import measure
from edgeward_runtimes.golden import Comparison, compare, cosine
from edgeward_runtimes.manifest import Tensor
from edgeward_runtimes.model import Model

_BATCH = 250
_RUNS = 50  # a median for the report; the device measures for itself
COSINE = "cosine"


class Measured(Struct, frozen=True):
    """What an artifact does. `metric` is the one asked for, or the mean cosine similarity to the source's outputs.

    `comparisons` are by output; `lost` says which output is no answer at all, if one is.
    """

    metric: float
    comparisons: dict[str, Comparison]
    lost: str | None
    latency_ms: float


def measure_artifact(
    artifact: Path,
    engine: str,
    inputs: tuple[Tensor, ...],
    outputs: tuple[Tensor, ...],
    golden: tuple[Arrays, Arrays],
    evaluation: Labelled | None,
    metric: str,
) -> Measured:
    """Open an artifact and measure it. Raises EngineError."""
    with Model.of(artifact, engine, inputs, outputs) as model:
        golden_inputs, expected = golden
        answered = predict_all(model, golden_inputs)
        if evaluation is None:
            value = mean_cosine(expected, answered)
        else:
            value = metrics.get(metric).score(predict_all(model, evaluation.inputs)[outputs[0].name], evaluation.y)
        comparisons, lost = compare(expected, answered), gate.lost(expected, answered)
        return Measured(value, comparisons, lost, measure(model, golden_inputs, runs=_RUNS).p50_ms)


def predict_all(model: Model, inputs: Arrays) -> dict[str, NDArray[Any]]:
    """Outputs by name for all samples."""
    samples = len(next(iter(inputs.values())))
    parts: dict[str, list[NDArray[Any]]] = {tensor.name: [] for tensor in model.outputs}
    for start in range(0, samples, _BATCH):
        predicted = model.predict({name: array[start : start + _BATCH] for name, array in inputs.items()})
        by_name = predicted if isinstance(predicted, dict) else {model.outputs[0].name: predicted}
        for name, array in by_name.items():
            parts[name].append(array)
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def mean_cosine(expected: Arrays, actual: Arrays) -> float:
    """Mean cosine similarity over samples and outputs: 1.0 for the source model itself.

    To six digits: what is beyond them is rounding, which even `max_drop=0` allows.
    """
    return round(float(np.mean([cosine(reference, actual[name]) for name, reference in expected.items()])), 6)
