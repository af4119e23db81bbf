"""How alike two tensors are, whatever the order of their axes. Pure.

Converters move axes about (NHWC, NCHW) and flatten them, so a layer's output and its source's may hold the same numbers
in another order. `compare` finds the order of axes in which they are most alike, and measures there. Where a flattened
tensor hides its axes, sorted values are compared, which is at most as far apart as any order of axes.

The measure is the ratio of signal to noise in decibels: the reference's variance over the mean squared difference.
Constant offsets count for nothing, so two unrelated tensors of positive numbers are not alike.
"""

from collections.abc import Iterator
from itertools import permutations
from math import inf, isfinite, log10
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Array = NDArray[Any]

SAME_DB = 60.0  # the same numbers but for rounding: a thousandth of the signal
_HUGE = 1e30  # masks of attention are written as -inf, -3.4e38 or -1e30
_MOST_AXES = 5
_POINTS = 256
_SAME_SPREAD = 1e-3
_SHUFFLED_DB = 20.0  # sorting brings aligned tensors a little nearer, and shuffled ones a lot


class Likeness(Struct, frozen=True):
    """How far a tensor lies from its reference.

    Attributes:
        snr_db: Signal to noise, decibels; infinite for equal tensors, -inf where one has NaN or infinity alone.
        max_abs_error: Largest absolute difference of any element, in the tensor's unit.
        relative_error: The same over the reference's largest absolute value.
        cosine: Smallest cosine similarity of any sample.
        is_aligned: False when the values were compared sorted, so the true distance may be larger.
    """

    snr_db: float
    max_abs_error: float
    relative_error: float
    cosine: float
    is_aligned: bool = True


def compare(reference: Array, actual: Array) -> Likeness | None:
    """Compare two tensors of the same samples, (samples, …) each; None when they have other numbers of elements."""
    if len(reference) != len(actual) or reference.size != actual.size or not reference.size:
        return None
    best = max((_measured(*pair) for pair in _orders(reference, actual)), key=lambda each: each.snr_db)
    if best.snr_db >= SAME_DB or not _may_be_shuffled(reference[0], actual[0]):
        return best
    sorted_ = _measured(np.sort(_rows(reference)), np.sort(_rows(actual)), is_aligned=False)
    return sorted_ if sorted_.snr_db >= max(SAME_DB, best.snr_db + _SHUFFLED_DB) else best


def is_telling(array: Array) -> bool:
    """Whether a match with it means something: floats, and not all the same number."""
    if array.dtype.kind != "f" or array.size < 2:
        return False
    finite = array[np.abs(array) < _HUGE]
    return bool(finite.size > 1 and finite.std() > 1e-6 * np.abs(finite).max() + 1e-30)


def sketch(array: Array) -> Array:
    """Quantiles of the first sample, at most 256 of them: the same for every order of axes."""
    values = np.sort(np.nan_to_num(array[0].reshape(-1).astype(np.float32, copy=False), posinf=_HUGE, neginf=-_HUGE))
    return values[np.linspace(0, len(values) - 1, min(len(values), _POINTS)).astype(np.int64)].astype(np.float64)


def sketch_distance(reference: Array, actual: Array) -> float:
    """Mean squared difference of two sketches over the reference's variance; small for alike tensors."""
    return float(((reference - actual) ** 2).mean() / (reference.var() + 1e-30))


def _orders(reference: Array, actual: Array) -> Iterator[tuple[Array, Array]]:
    """Pairs of rows to compare: as they are, then with the axes of the tensor that has more of them in another order.

    Orders are tried on the first sample alone; the best of them is given for all samples.
    """
    yield _rows(reference), _rows(actual)
    turns_actual = _rank(actual) >= _rank(reference)
    turned, fixed = (actual, reference) if turns_actual else (reference, actual)
    if not 2 <= _rank(turned) <= _MOST_AXES:
        return
    turned = turned.reshape(len(turned), *(size for size in turned.shape[1:] if size > 1))
    orders = list(permutations(range(1, turned.ndim)))[1:]
    target = _rows(fixed[:1])
    best = min(orders, key=lambda order: _distance(target, _rows(turned[:1].transpose(0, *order))))
    rows = _rows(turned.transpose(0, *best))
    yield (_rows(fixed), rows) if turns_actual else (rows, _rows(fixed))


def _may_be_shuffled(reference: Array, actual: Array) -> bool:
    """Whether it is worth sorting: the same numbers in any order have the same mean and spread."""
    with np.errstate(invalid="ignore"):
        (mean, spread), (other_mean, other_spread) = (
            (float(array.mean(dtype=np.float64)), float(array.std(dtype=np.float64))) for array in (reference, actual)
        )
    return not max(abs(mean - other_mean), abs(spread - other_spread)) > _SAME_SPREAD * spread  # NaN: masks


def _rank(array: Array) -> int:
    return sum(size > 1 for size in array.shape[1:])


def _distance(left: Array, right: Array) -> float:
    with np.errstate(invalid="ignore", over="ignore"):
        distance = float(np.abs(left.astype(np.float32) - right.astype(np.float32)).sum(dtype=np.float64))
    return distance if np.isfinite(distance) else inf


def _measured(reference: Array, actual: Array, is_aligned: bool = True) -> Likeness:
    left, right = settled(reference, actual)
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        return Likeness(-inf, inf, inf, -1.0, is_aligned)
    difference = np.abs(left - right)
    largest, scale = float(difference.max()), float(np.abs(left).max())
    return Likeness(
        snr_db=decibels(float(left.var()), float((difference**2).mean())),
        max_abs_error=largest,
        relative_error=largest / scale if scale else (inf if largest else 0.0),
        cosine=_cosine(left, right),
        is_aligned=is_aligned,
    )


def settled(reference: Array, actual: Array) -> tuple[Array, Array]:
    """Both as float64, and zero where both say the same without a number: NaN, or a mask's infinity however written."""
    left, right = reference.astype(np.float64), actual.astype(np.float64)
    masked = (np.abs(left) >= _HUGE) & (np.abs(right) >= _HUGE) & (np.sign(left) == np.sign(right))
    ignored = masked | (np.isnan(left) & np.isnan(right))
    return np.where(ignored, 0.0, left), np.where(ignored, 0.0, right)


def decibels(signal: float, noise: float) -> float:
    """The ratio of two powers in decibels; infinite without noise, -inf without signal or without finite noise."""
    if noise == 0:
        return inf
    return 10 * log10(signal / noise) if signal and isfinite(noise) else -inf


def _cosine(left: Array, right: Array) -> float:
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    alike = (left == right).all(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        similarity = np.einsum("ij,ij->i", left, right) / norms
    return float(np.where(alike, 1.0, np.nan_to_num(similarity, nan=0.0)).min())


def _rows(array: Array) -> Array:
    return array.reshape(len(array), -1)
