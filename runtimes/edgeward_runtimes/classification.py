"""What a picture shows: from pictures to a model's best classes, with their labels.

A classifier has one input, which takes a picture, and its first output has one score per class: shape (batch, classes),
maybe with axes of 1. A score is the output's own value: a probability where the model ends with a softmax or sigmoid, a
logit where it does not. One exception has no other reading: a single value with two labels is the probability of the
second, and the first has what is missing to 1.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from edgeward_runtimes import preprocess
from edgeward_runtimes.binding import Outputs
from edgeward_runtimes.errors import InputError
from edgeward_runtimes.manifest import Tensor
from edgeward_runtimes.pictures import Picture

if TYPE_CHECKING:
    from edgeward_runtimes.model import Model

Array = NDArray[Any]

_ROUNDING = 1e-3  # what a sigmoid in few bits may leave [0, 1] by


class Classification(Struct, frozen=True):
    """One class: its label (None where the bundle has none), its index in the output, and the output's value."""

    label: str | None
    index: int
    score: float


def classify(model: "Model", image: "Picture | Sequence[Picture]", top: int) -> Any:
    """See `Model.classify`. The model must not move to another release meanwhile."""
    if not isinstance(top, int) or top < 1:
        raise InputError(f"top is {top!r}; expected how many classes to give, at least 1.")
    _check_classifies(model)
    is_batch = isinstance(image, list | tuple) or (isinstance(image, np.ndarray) and image.ndim == 4)
    pictures: Sequence[Any] = image if is_batch else [image]  # type: ignore[assignment]
    if not len(pictures):
        raise InputError("There are no pictures in the batch; pass at least one.")
    ranked = best(model.predict(prepare(model, pictures)), model, top)
    return ranked if is_batch else ranked[0]


def prepare(model: "Model", pictures: Sequence[Picture]) -> Array:
    """The pictures as the model's input. Raises InputError."""
    if len(model.inputs) != 1:
        names = ", ".join(repr(tensor.name) for tensor in model.inputs)
        raise InputError(
            f"{model.name} has {len(model.inputs)} inputs, {names}: it takes no single picture. See predict."
        )
    return preprocess.prepare(pictures, model.inputs[0], model.preprocess)


def best(outputs: Outputs, model: "Model", top: int) -> list[list[Classification]]:
    """The best classes of each picture in a batch's outputs, best first; of equal ones the first. NaN comes last."""
    name = model.outputs[0].name
    array = np.asarray(outputs[name] if isinstance(outputs, dict) else outputs)
    return [_ranked(scores, model.labels, top) for scores in array.reshape(len(array), -1).astype(np.float64)]


def classes(output: Tensor) -> int | None:
    """How many classes an output has scores for: 0 where it is open, None where it is no classifier's output."""
    sizes = [size for size in output.shape[1:] if size != 1]
    if len(output.shape) < 2 or len(sizes) > 1:
        return None
    return (sizes[0] or 0) if sizes else 1


def fits(labels: Sequence[str], count: int) -> bool:
    """Whether there is a label for each of so many classes; two for the one output of a sigmoid."""
    return count in (0, len(labels)) or (count == 1 and len(labels) == 2)


def _check_classifies(model: "Model") -> None:
    count = classes(model.outputs[0])
    if count is None:
        shape = ", ".join("any" if size is None else str(size) for size in model.outputs[0].shape)
        raise InputError(
            f"{model.name} is no classifier: its output {model.outputs[0].name!r} has shape ({shape}); expected "
            "(batch, classes). See predict."
        )
    if model.labels is not None and not fits(model.labels, count):
        raise InputError(
            f"{model.name} has {count} classes but {len(model.labels)} labels. Convert it again with a label for each."
        )


def _ranked(scores: Array, labels: tuple[str, ...] | None, top: int) -> list[Classification]:
    if len(scores) == 1 and labels is not None and len(labels) == 2:
        if not -_ROUNDING <= scores[0] <= 1 + _ROUNDING:
            raise InputError(
                f"With two labels the one score must be a probability, not {scores[0]:g}. End the model with a sigmoid."
            )
        scores = np.concatenate([1 - scores, scores])
    if labels is not None and len(labels) != len(scores):
        raise InputError(f"The output has {len(scores)} classes but there are {len(labels)} labels. See predict.")
    order = np.argsort(-scores, kind="stable")[:top]
    return [Classification(labels[i] if labels else None, int(i), float(scores[i])) for i in order]
