"""Weights as int8 with one scale per channel, for engines whose libraries pass them over. Pure."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Below, the scales take as much as the integers save.
_FEWEST = 64


def is_worth_it(dtype: str, shape: tuple[int, ...]) -> bool:
    """Whether a constant is weights that int8 makes smaller."""
    return dtype == "float32" and sum(size > 1 for size in shape) > 1 and int(np.prod(shape)) >= _FEWEST


def in_8_bits(values: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32], int]:
    """Integers of -127 to 127, a scale per channel, and the channels' axis: the one that comes nearest to the values.

    Args:
        values: float32, of any shape with an axis.
    """
    tried = [(*_along(values, axis), axis) for axis in range(values.ndim) if values.shape[axis] > 1]
    return min(tried, key=lambda each: _error(values, *each))


def _along(values: NDArray[Any], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    others = tuple(each for each in range(values.ndim) if each != axis)
    scales = (np.abs(values).max(axis=others) / 127).astype(np.float32)
    scales[scales == 0] = 1.0
    return np.rint(values / _spread(scales, values.ndim, axis)).astype(np.int8), scales


def _error(values: NDArray[Any], stored: NDArray[np.int8], scales: NDArray[np.float32], axis: int) -> float:
    return float(np.square(values - stored * _spread(scales, values.ndim, axis)).sum())


def _spread(scales: NDArray[np.float32], axes: int, axis: int) -> NDArray[np.float32]:
    """The scales in a shape that broadcasts over the weights."""
    return scales.reshape([-1 if each == axis else 1 for each in range(axes)])
