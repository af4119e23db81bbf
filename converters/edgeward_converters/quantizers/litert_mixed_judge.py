"""How much worse a quantized model is than the float one, on samples that are held back. Pure.

For accuracy, counting right answers is noisy: of 4,000 samples few change sides, and as many by luck as for the worse.
So each changed answer costs what the float model leads us to expect: how much likelier it holds its own class than the
quantized model's, by probabilities that labels, where there are any, have brought to the right confidence (temperature
scaling, Guo et al. 2017, arXiv:1706.04599). The count must not contradict that. Other metrics are means over samples,
and compared sample by sample. All means are known to within their standard error, which a margin adds: of few samples,
less may be lost.
"""

import math
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from edgeward_runtimes.errors import ConfigError

Array = NDArray[Any]

MARGIN = 1.0  # standard errors: five of six times, the true drop is below the bound
_CONTRADICTION = 1.0  # standard errors: so far may the count of right answers be off
_TEMPERATURES = np.geomspace(0.25, 8, 41)


class Verdict(Struct, frozen=True, order=True):
    """What a candidate loses.

    Attributes:
        bound: The drop that the metric should not exceed, margin included.
        error: Relative squared error of the outputs, which says which of two candidates is nearer when both lose
            nothing.
        drop: The mean drop on the samples.
    """

    bound: float
    error: float
    drop: float


class Judge:
    """Judges outputs of one set of samples."""

    def __init__(self, reference: Array, y: Array | None, metric: str) -> None:
        """Keep what the float model answered.

        Args:
            reference: The float model's first output, (n, …).
            y: Labels or targets (n, …), None where there are none.
            metric: accuracy, top5_accuracy, mae, mse, or cosine, which needs no `y`.
        """
        self._reference = reference.astype(np.float64)
        self._metric = metric
        self._y = None if metric == "cosine" else y
        self._scale = float(np.square(self._reference - self._reference.mean(axis=0)).mean()) or 1.0
        self._lost = None if self._y is None else _lost(self._reference, self._y, metric)
        self._likely: Array | None = None
        if metric == "accuracy" and reference.ndim == 2:
            logarithms = np.log(np.maximum(_probabilities(self._reference), 1e-12))
            self._likely = _softened(logarithms, 1.0 if self._y is None else _temperature(logarithms, _labels(self._y)))

    def __call__(self, outputs: Array) -> Verdict:
        """Judge the same samples' outputs of another model."""
        outputs = outputs.astype(np.float64)
        error = float(np.square(outputs - self._reference).mean()) / self._scale
        if not np.isfinite(error):
            return Verdict(math.inf, math.inf, math.inf)
        if self._likely is None:
            drop, doubt = _mean(self._losses(outputs))
            return Verdict(drop + MARGIN * doubt, error, drop)
        rows = np.arange(len(outputs))
        own, other = _classes(self._reference), _classes(outputs)
        drop, doubt = _mean(self._likely[rows, own] - self._likely[rows, other])
        bound = drop + MARGIN * doubt
        if self._y is not None:
            counted, doubt = _mean(self._losses(outputs))
            bound = max(bound, counted - _CONTRADICTION * doubt)
        return Verdict(bound, error, drop)

    def _losses(self, outputs: Array) -> Array:
        if self._y is not None and self._lost is not None:
            return _lost(outputs, self._y, self._metric) - self._lost
        return _expected(self._reference, outputs, self._metric)


def _mean(losses: Array) -> tuple[float, float]:
    """The mean and its standard error."""
    return float(losses.mean()), float(losses.std()) / math.sqrt(len(losses))


def _softened(logarithms: Array, temperature: float) -> Array:
    raised = np.exp((logarithms - logarithms.max(axis=1, keepdims=True)) / temperature)
    likely: Array = raised / raised.sum(axis=1, keepdims=True)
    return likely


def _temperature(logarithms: Array, labels: Array) -> float:
    """The temperature under which the labels are likeliest."""
    rows = np.arange(len(labels))
    costs = {
        float(each): -float(np.log(np.maximum(_softened(logarithms, each)[rows, labels], 1e-12)).mean())
        for each in _TEMPERATURES
    }
    return min(costs, key=lambda each: costs[each])


def _lost(outputs: Array, y: Array, metric: str) -> Array:
    """What each sample costs, (n,): the metric is their mean, or one less it."""
    if metric in ("mae", "mse"):
        difference = (outputs - y.reshape(outputs.shape)).reshape(len(outputs), -1)
        return np.asarray((np.abs(difference) if metric == "mae" else np.square(difference)).mean(axis=1))
    labels = _labels(y)
    if metric == "top5_accuracy":
        hit = (np.argsort(outputs, axis=1)[:, -5:] == labels[:, None]).any(axis=1)
    elif metric == "accuracy":
        hit = _classes(outputs) == labels
    else:
        raise ConfigError(f"There is no metric {metric!r} to search a mixed precision by.")
    return np.asarray(1.0 - hit)


def _expected(reference: Array, outputs: Array, metric: str) -> Array:
    """The like, where the truth is only as well known as the float model knows it."""
    flat, other = reference.reshape(len(reference), -1), outputs.reshape(len(outputs), -1)
    if metric in ("mae", "mse"):
        return np.asarray((np.abs(flat - other) if metric == "mae" else np.square(flat - other)).mean(axis=1))
    if metric == "top5_accuracy" and reference.ndim == 2:
        return np.asarray(1.0 - (np.argsort(outputs, axis=1)[:, -5:] == _classes(reference)[:, None]).any(axis=1))
    lengths = np.linalg.norm(flat, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray(1.0 - np.where(lengths > 0, (flat * other).sum(axis=1) / np.maximum(lengths, 1e-30), 1.0))


def _labels(y: Array) -> Array:
    labels: Array = y.reshape(-1) if y.size == len(y) else y.argmax(axis=1)
    return labels.astype(np.int64)


def _classes(outputs: Array) -> Array:
    return outputs.argmax(axis=1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0.5).astype(int)


def _probabilities(outputs: Array) -> Array:
    """(n, classes), from probabilities or logits; of one sigmoid, both classes'."""
    if outputs.shape[1] == 1:
        return np.concatenate([1 - outputs, outputs], axis=1)
    if outputs.min() >= 0 and np.allclose(outputs.sum(axis=1), 1, atol=0.02):
        return outputs
    return _softened(outputs, 1.0)
