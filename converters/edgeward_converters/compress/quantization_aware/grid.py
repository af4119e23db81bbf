"""The grid that weights are quantized to: symmetric, one scale per output channel. Pure.

LiteRT, ONNX Runtime and OpenVINO all quantize weights so: value = scale · integer, integers from −(2^(bits−1) − 1).
What batch normalization multiplies a channel with, when it is folded into the weights, scales its grid alike.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_SHARES = np.linspace(0.35, 1.0, 27, dtype=np.float32)  # of a channel's largest weight, where it is clipped


def largest_integer(bits: int) -> int:
    """Of the grid: 127 for 8 bits, 7 for 4."""
    return int(2 ** (bits - 1) - 1)


def within(weights: Array, axes: tuple[int, ...]) -> tuple[int, ...]:
    """The axes within a channel: all but those that count channels."""
    return tuple(axis for axis in range(weights.ndim) if axis not in axes)


def scales(weights: Array, axes: tuple[int, ...], bits: int) -> Array:
    """The scale of each channel whose clipping loses the least squared error, with 1 for the axes within a channel.

    Args:
        weights: Of one layer.
        axes: Those that count channels; all others are within one.
        bits: 4 or 8. In 8 bits nothing is clipped: that gains nothing there.
    """
    inner = within(weights, axes)
    largest = np.abs(weights).max(axis=inner, keepdims=True).astype(np.float32)
    largest = np.where(largest > 0, largest, np.float32(1.0))
    if bits == 8:
        return largest / largest_integer(bits)
    candidates = [share * largest / largest_integer(bits) for share in _SHARES]
    errors = [
        np.square(on_grid(weights, candidate, bits) - weights).sum(axis=inner, keepdims=True)
        for candidate in candidates
    ]
    best: Array = np.take_along_axis(np.stack(candidates), np.argmin(np.stack(errors), axis=0)[None], axis=0)[0]
    return best


def on_grid(weights: Array, scale: Array, bits: int) -> Array:
    """Each weight as the nearest value of the grid (float32)."""
    farthest = largest_integer(bits)
    return np.clip(np.rint(weights / scale), -farthest, farthest).astype(np.float32) * scale


def to_the_end(weights: Array, scale: Array, axes: tuple[int, ...], bits: int) -> Array:
    """The weights on the grid; a channel that does not reach the grid's end gets a scale with which it does.

    Quantization between minimum and maximum then finds the same grid, and changes nothing.
    """
    reached = np.abs(weights).max(axis=within(weights, axes), keepdims=True) >= (largest_integer(bits) - 0.5) * scale
    return on_grid(weights, np.where(reached, scale, scales(weights, axes, bits)), bits)
