"""Weights in few bits: the integers and scales whose products come nearest to the float ones. Pure.

A channel of float weights w (k,) multiplies rows r in the float model. In the quantized one the rows x are others
already, because of the layers before. Rounded weights ŵ should give there what w gave, (ŵ·x + shift) ≈ w·r. Means go
into the bias. Of the rest, with C the covariance of x and X that of r with x, the error is

    (ŵ - t)ᵀ C (ŵ - t) + constant,   t = C⁻¹ Xᵀ w

so it is t that is rounded: what went wrong before is undone as far as a linear map can (as GPFQ and Qronos do, Zhang et
al. 2025, arXiv:2505.11695). The integers are found by coordinate descent, where one weight after another goes where the
others' errors want it (QuantEase, Behdin et al. 2023, arXiv:2309.01885), from several scales per channel.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Array = NDArray[Any]

_CLIPPED = (0.5, 0.6, 0.68, 0.76, 0.84, 0.92, 1.0)  # scales, as shares of the one that cuts nothing
_SWEEPS = 4
_DAMPING = 0.01  # of the mean variance: keeps weights that never see an input where they are


class Rounded(Struct, frozen=True):
    """Integers (channels, k), a scale per channel (channels,), and each channel's error (channels,)."""

    integers: Array
    scales: Array
    errors: Array

    def floats(self) -> Array:
        """What the integers stand for."""
        return self.integers * self.scales[:, None]


def damped(covariance: Array) -> Array:
    """A covariance as it is used: with a little of its mean variance added to every number's own."""
    size = len(covariance)
    return covariance + np.eye(size) * (_DAMPING * max(float(np.trace(covariance)) / size, 1e-12))


def judged(weights: Array, covariance: Array, integers: Array, scales: Array) -> Rounded:
    """Integers and scales that came from elsewhere, with their errors under a damped covariance."""
    difference = integers * scales[:, None] - weights
    return Rounded(integers, scales, np.einsum("ck,ck->c", difference @ covariance, difference))


def target(weights: Array, covariance: Array, cross: Array) -> Array:
    """The weights to be rounded (channels, k), where the layers before have changed what these multiply.

    Args:
        weights: The float ones (channels, k).
        covariance: Of the rows as they are (k, k), not damped.
        cross: Of the float model's rows with them (k, k).
    """
    steady = damped(covariance)
    wanted: Array = np.linalg.solve(steady, (weights @ (cross + steady - covariance)).T).T
    return wanted


def clipped_scales(weights: Array, bits: int) -> list[Array]:
    """Scales to try, each (channels,): from the one that cuts nothing to half of it."""
    widest = np.abs(weights).max(axis=1) / (2 ** (bits - 1) - 1)
    return [widest * share for share in _CLIPPED]


def compensated(weights: Array, covariance: Array, bits: int, scales: Iterable[Array]) -> Rounded:
    """The best integers by coordinate descent.

    Args:
        weights: (channels, k).
        covariance: (k, k), damped.
        bits: Of the integers, which are symmetric: 4 are -7 to 7.
        scales: Scales per channel to try, each (channels,).
    """
    limit = 2 ** (bits - 1) - 1
    return best(_descended(weights, covariance, limit, np.maximum(each, 1e-12)) for each in scales)


def best(tried: Iterable[Rounded]) -> Rounded:
    """Of each channel the candidate with the smallest error."""
    found: Rounded | None = None
    for each in tried:
        if found is None:
            found = each
            continue
        is_better = each.errors < found.errors
        found = Rounded(
            np.where(is_better[:, None], each.integers, found.integers),
            np.where(is_better, each.scales, found.scales),
            np.where(is_better, each.errors, found.errors),
        )
    if found is None:
        raise ValueError("no candidates")
    return found


def _descended(weights: Array, covariance: Array, limit: int, scales: Array) -> Rounded:
    """Coordinate descent from the nearest integers."""
    scales = scales.astype(np.float32).astype(np.float64)  # as the file has them
    integers = np.clip(np.rint(weights / scales[:, None]), -limit, limit)
    difference = integers * scales[:, None] - weights
    slope = difference @ covariance
    order = np.argsort(-np.diag(covariance))
    for _ in range(_SWEEPS):
        moved = False
        for place in order:
            wanted = integers[:, place] - slope[:, place] / (covariance[place, place] * scales)
            chosen = np.clip(np.rint(wanted), -limit, limit)
            step = (chosen - integers[:, place]) * scales
            if step.any():
                moved = True
                integers[:, place] = chosen
                slope += step[:, None] * covariance[place]
        if not moved:
            break
    return judged(weights, covariance, integers, scales)
