"""Metrics: how good outputs are, against what is true of the samples. Pure functions of arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from edgeward_runtimes.errors import ConfigError, InputError

Array = NDArray[Any]


class Metric(Struct, frozen=True):
    """A metric by name. `score` takes outputs and truth, both with the samples first."""

    name: str
    higher_is_better: bool
    score: Callable[[Array, Array], float]

    def drop(self, source: float, variant: float) -> float:
        """How much worse a variant is than its source; negative when it is better."""
        return source - variant if self.higher_is_better else variant - source


def _accuracy(outputs: Array, y: Array) -> float:
    """Share of samples whose largest output is the label; one output of a sigmoid is cut at 0.5."""
    _check_classes(outputs, "accuracy")
    predicted = outputs.argmax(axis=1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0.5).astype(int)
    return float((predicted == _labels(y, outputs)).mean())


def _top5_accuracy(outputs: Array, y: Array) -> float:
    """Share of samples whose label is among the five largest outputs."""
    _check_classes(outputs, "top5_accuracy")
    best = np.argsort(outputs, axis=1)[:, -5:]
    return float((best == _labels(y, outputs)[:, None]).any(axis=1).mean())


def _mean_absolute_error(outputs: Array, y: Array) -> float:
    return float(np.abs(outputs - _like(y, outputs)).mean())


def _mean_squared_error(outputs: Array, y: Array) -> float:
    return float(np.square(outputs - _like(y, outputs)).mean())


def _check_classes(outputs: Array, metric: str) -> None:
    if outputs.ndim != 2:
        raise InputError(
            f"The metric {metric} needs outputs of shape (samples, classes); they are {outputs.shape}. See --metric."
        )


def _labels(y: Array, outputs: Array) -> Array:
    """Class indexes (samples,): given as such, as a column, or one-hot, of the outputs' own shape."""
    if y.size == len(y):
        labels = y.reshape(-1)
    elif y.shape == outputs.shape:
        labels = y.argmax(axis=1)
    else:
        raise InputError(
            f"'y' has shape {y.shape}; expected labels of shape ({len(outputs)},), or one-hot ones of shape "
            f"{outputs.shape}, as the model's outputs are. See --metric."
        )
    if (labels != np.floor(labels)).any():
        raise InputError("'y' holds labels that are no whole numbers; expected class indexes. See --metric.")
    return labels


def _like(y: Array, outputs: Array) -> Array:
    if y.size != outputs.size:
        raise InputError(f"The targets have shape {y.shape}, the model's outputs {outputs.shape}. See --metric.")
    return y.reshape(outputs.shape).astype(np.float64)


_ALL = {
    metric.name: metric
    for metric in (
        Metric("accuracy", True, _accuracy),
        Metric("top5_accuracy", True, _top5_accuracy),
        Metric("mae", False, _mean_absolute_error),
        Metric("mse", False, _mean_squared_error),
    )
}


def get(name: str) -> Metric:
    """Return a metric by name. Raises ConfigError that lists those there are."""
    if name not in _ALL:
        raise ConfigError(f"There is no metric {name!r}; there are {', '.join(_ALL)}.")
    return _ALL[name]
