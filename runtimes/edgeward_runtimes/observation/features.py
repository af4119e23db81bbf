"""A sample of inputs and outputs as a few numbers that can be counted: its features.

Of a tensor with up to 16 values per sample, each value; of a larger one, the mean and the standard deviation of its
values (of at most 4,096 of them, evenly taken). Of a classifier's first output, the class and the confidence: the
probability of that class, by softmax where the scores are no probabilities.

Pure, and vectorized over samples, so that the converter describes its data with the very same code.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from edgeward_runtimes.engines import Array
from edgeward_runtimes.manifest import Tensor

CLASS, CONFIDENCE = "class", "confidence"
# Where a classifier is sure is where it changes first, so the last tenth is divided again.
CONFIDENCE_EDGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
MOST_CLASSES = 1000
_SEPARATELY = 16  # values of a sample
_AT_MOST = 4096
_ROUNDING = 1e-2  # what probabilities in few bits may leave 1 by, added up
# Metrics of classifiers. Without an evaluation it is none, or the cosine: then several scores are taken for classes'.
_CLASSIFYING = (None, "cosine", "accuracy", "top5_accuracy")


class Scores(Struct, frozen=True):
    """What a classifier says of samples: arrays of (samples,). `margin` is what the best is ahead of the second."""

    best: Array
    confidence: Array
    margin: Array


def classes_of(output: Tensor, labels: Sequence[str] | None, metric: str | None) -> int | None:
    """How many classes a first output tells apart; None where it is no classifier's, or leaves that open."""
    sizes = [size for size in output.shape[1:] if size != 1]
    if len(output.shape) < 2 or len(sizes) > 1 or (labels is None and metric not in _CLASSIFYING):
        return None
    if not sizes:
        return 2 if labels is not None and len(labels) == 2 else None
    return sizes[0]


def describe(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Features by name, each (samples,), of tensors that have samples along their first axis."""
    found: dict[str, Array] = {}
    for name, array in tensors.items():
        if array.dtype.kind not in "fiub" or array.ndim == 0 or not array.size:
            continue
        flat = array.reshape(len(array), -1)
        if flat.shape[1] <= _SEPARATELY:
            values = flat.astype(np.float64)
            found |= {f"{name}.{place}": values[:, place] for place in range(flat.shape[1])}
        else:
            step = -(-flat.shape[1] // _AT_MOST)
            values = flat[:, ::step].astype(np.float64)
            found |= {f"{name}.mean": values.mean(1), f"{name}.std": values.std(1)}
    return found


@np.errstate(all="ignore")
def scores(output: Array, classes: int) -> Scores:
    """What a classifier's first output (samples, …) says; a lone score is the probability of the second class."""
    flat = output.reshape(len(output), -1).astype(np.float64)
    if flat.shape[1] == 1 and classes == 2:
        flat = np.concatenate([1 - flat, flat], axis=1)
    probable = _probabilities(flat)
    ordered = np.partition(probable, -2, axis=1)
    best = np.argmax(probable, axis=1)
    return Scores(best, ordered[:, -1], ordered[:, -1] - ordered[:, -2])


@np.errstate(all="ignore")  # what is not finite is counted, and nothing to warn of
def described(inputs: Mapping[str, Array], outputs: Mapping[str, Array], classes: int | None) -> dict[str, Array]:
    """All features of samples; `classes` is `classes_of` the model, and the first output its scores."""
    found = describe(inputs)
    if classes is None or not outputs:
        return found | describe(outputs)
    said = scores(next(iter(outputs.values())), classes)
    return {CLASS: np.minimum(said.best, MOST_CLASSES - 1), CONFIDENCE: said.confidence, **found}


def _probabilities(rows: "np.ndarray[Any, np.dtype[np.float64]]") -> Array:
    """Rows as they are where they are probabilities, else their softmax."""
    are = (rows.min(1) >= -_ROUNDING) & (np.abs(rows.sum(1) - 1) <= _ROUNDING)
    powers = np.exp(rows - rows.max(1, keepdims=True))
    return np.where(are[:, None], rows, powers / powers.sum(1, keepdims=True))
