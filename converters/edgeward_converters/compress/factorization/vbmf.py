"""How many singular values of a noisy matrix are signal: empirical variational Bayes, in closed form. Pure.

Nakajima, Sugiyama, Babacan, Tomioka: Global Analytic Solution of Fully-observed Variational Bayesian Matrix
Factorization, JMLR 14 (2013), with noise of unknown variance; Kim et al. 2016 take it for the ranks of Tucker-2.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_TAU_PER_ROOT = 2.5129
_TRIED = 500


def rank(matrix: Array) -> int:
    """The number of singular values above the noise, at least 1."""
    rows, columns = sorted(matrix.shape)
    values = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    if not values[0] > 0:
        return 1
    alpha = rows / columns
    tau = _TAU_PER_ROOT * math.sqrt(alpha)
    edge = (1 + tau) * (1 + alpha / tau)
    low, high = _bounds(values, rows, columns, edge)
    variances = np.geomspace(low, max(high, low), _TRIED)  # the free energy of it has several minima
    variance = min(variances, key=lambda each: _free_energy(each, values, rows, columns, edge))
    return max(1, int((values > math.sqrt(columns * variance * edge)).sum()))


def _bounds(values: Array, rows: int, columns: int, edge: float) -> tuple[float, float]:
    """Between which variances the noise's must be."""
    high = float(np.square(values).sum()) / (rows * columns)
    start = max(0, min(math.ceil(rows / (1 + rows / columns)) - 1, rows) - 1)
    rest = np.square(values[min(start + 1, rows - 1) :])
    return max(float(rest[0] / (columns * edge)), float(rest.mean() / columns), high * 1e-12), high


def _free_energy(variance: float, values: Array, rows: int, columns: int, edge: float) -> float:
    """The free energy at this variance of the noise, without its constant part."""
    alpha = rows / columns
    scaled = np.square(values) / (columns * variance)
    signal, noise = scaled[scaled > edge], np.maximum(scaled[scaled <= edge], 1e-300)
    centred = signal - (1 + alpha)
    tau = 0.5 * (centred + np.sqrt(np.square(centred) - 4 * alpha))
    of_signal = signal - tau + np.log((tau + 1) / signal) + alpha * np.log(tau / alpha + 1)
    return float((noise - np.log(noise)).sum() + of_signal.sum())
