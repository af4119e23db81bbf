"""Which loss fits a model's outputs and its labels, found out from a few of both. Pure."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeward_runtimes.errors import ConfigError

Array = NDArray[Any]
# What the loss is; labels are class indexes for the first two, and `probabilities` says what the outputs are.
Kind = Literal["cross_entropy_of_logits", "cross_entropy_of_probabilities", "binary", "mean_squared_error"]
_SUM_TOLERANCE = 1e-3


def labels(y: Array | None) -> Array:
    """The labels that a loss needs. Raises ConfigError when there are none."""
    if y is None:
        raise ConfigError("Training needs labels, an array 'y' beside the inputs, and these samples have none.")
    return y


def kind(outputs: Array, y: Array) -> Kind:
    """The loss for outputs (n, …), a few samples' as they are before training, and all labels or targets (m, …).

    Raises ConfigError when they fit no loss.
    """
    classes = outputs.shape[1] if outputs.ndim == 2 else 0
    if classes > 1 and _are_labels(y, classes):
        return "cross_entropy_of_probabilities" if are_probabilities(outputs) else "cross_entropy_of_logits"
    if y.size // len(y) != outputs[0].size:
        raise ConfigError(
            f"The labels have shape {y.shape} per all samples and the model's outputs {outputs.shape[1:]} per sample; "
            "expected class indexes (samples,) for outputs (samples, classes), or targets of the outputs' shape."
        )
    if classes == 1 and np.isin(y, (0, 1)).all() and ((outputs >= 0) & (outputs <= 1)).all():
        return "binary"
    return "mean_squared_error"


def targets(kind: Kind, y: Array, outputs: Array) -> Array:
    """Labels as the loss takes them: class indexes (n,) as int64, or floats of the outputs' shape.

    Raises ConfigError for a class that the model has not.
    """
    if not kind.startswith("cross_entropy"):
        return y.reshape(len(y), *outputs.shape[1:]).astype(np.float32)
    labels = y.reshape(len(y)) if y.size == len(y) else y.argmax(axis=1)
    classes = outputs.shape[1]
    if labels.min() < 0 or labels.max() >= classes:
        raise ConfigError(
            f"The training data's 'y' holds class {int(labels.max() if labels.max() >= classes else labels.min())}, "
            f"but the model has {classes} classes, 0 to {classes - 1}."
        )
    return labels.astype(np.int64)


def are_probabilities(outputs: Array) -> bool:
    """Whether each row of outputs (n, classes) is of numbers from 0 that add up to 1."""
    return bool((outputs >= 0).all() and (np.abs(outputs.sum(axis=-1) - 1) < _SUM_TOLERANCE).all())


def _are_labels(y: Array, classes: int) -> bool:
    """Whether y is class indexes (m,) or (m, 1), or one-hot (m, classes)."""
    if y.size == len(y):
        return bool((y == np.floor(y)).all())
    return y.shape[1:] == (classes,) and bool(np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all())
