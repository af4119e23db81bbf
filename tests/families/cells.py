"""One row of the matrix: a source through `convert`, and what every engine then predicts against its own answers."""

import numpy as np
from msgspec import Struct

import edgeward
import edgeward_converters
from edgeward_converters import Conversion, Outcome, Worker
from edgeward_runtimes.model import Model
from tests.families.data import Array
from tests.families.writing import Made

ENGINES = ("litert", "onnxruntime", "openvino")
TOLERANCE = 1e-4  # of an output's largest answer
_BATCHES = (1, 5)


class Cell(Struct, frozen=True):
    """What became of one engine's fp32 variant.

    Attributes:
        seconds: What converting and proving it took, or None where nothing was converted.
        error: The largest difference from the source's answers, relative to the largest answer of the same output.
        reason: Why the cell is empty, or None.
    """

    engine: str
    seconds: float | None = None
    error: float | None = None
    reason: str | None = None


def convert(made: Made, worker: Worker) -> list[Cell]:
    """Convert to the three engines' fp32 variants, predict 1 and 5 samples by each, and compare."""
    variants = [f"{engine}-fp32" for engine in ENGINES]
    try:
        conversion = edgeward_converters.convert(made.path, variants=variants, calibration=made.inputs, worker=worker)
    except Exception as error:  # whatever it is, it empties this row and not the whole matrix
        return [Cell(engine, reason=f"{type(error).__name__}: {error}") for engine in ENGINES]
    return [_cell(conversion, outcome, made) for outcome in conversion.report.variants]


def _cell(conversion: Conversion, outcome: Outcome, made: Made) -> Cell:
    if not outcome.kept:
        return Cell(outcome.engine, outcome.seconds, reason=outcome.reason)
    try:
        with edgeward.load(conversion.bundle.path, variant=outcome.id) as model:
            named = [tensor.name for tensor in model.outputs]
            if sorted(named) != sorted(made.answers):
                reason = f"its outputs are {', '.join(named)}; the source's are {', '.join(made.answers)}"
                return Cell(outcome.engine, outcome.seconds, reason=reason)
            error = max(_error(model, made, batch) for batch in _BATCHES)
    except Exception as failure:  # as above, for this cell
        return Cell(outcome.engine, outcome.seconds, reason=f"{type(failure).__name__}: {failure}")
    reason = None if error <= TOLERANCE else f"predicts otherwise than the source: by {error:.1e} of the largest answer"
    return Cell(outcome.engine, outcome.seconds, error, reason)


def _error(model: Model, made: Made, batch: int) -> float:
    """The worst of all outputs; one of another shape is infinitely wrong."""
    predicted = model.predict({name: array[:batch] for name, array in made.inputs.items()})
    if not isinstance(predicted, dict):
        predicted = {model.outputs[0].name: predicted}
    return max(_distance(predicted[name], answer[:batch]) for name, answer in made.answers.items())


def _distance(predicted: Array, answer: Array) -> float:
    if predicted.shape != answer.shape:
        return float("inf")
    difference = np.abs(predicted.astype(np.float64) - answer).max()
    return float(difference / max(np.abs(answer).max(), np.finfo(np.float32).tiny))
