"""Resizing a picture exactly as TensorFlow or PyTorch does, in numpy; Pillow's own way is left to Pillow.

Each library weighs other neighbours, at places computed in another precision, and some round between the two axes. A
resize here is a list of `_Taps` per axis, which pixels to take and their weights, applied to columns and then to rows.
Sources: TensorFlow's resize_bilinear_op.cc, resize_bicubic_op.cc and scale_and_translate_op.cc; PyTorch's
UpSampleKernel.cpp and UpSampleKernelAVXAntialias.h. tests/integration/test_preprocess_references.py compares with both.
"""

import math
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from edgeward_runtimes.manifest import Preprocess

Pixels = NDArray[Any]
_Weights = tuple[NDArray[np.intp], NDArray[Any]]

_RADIUS = {"bilinear": 1, "bicubic": 2}
_HALF = np.float32(0.5)
_TABLE_STEPS = np.float32(1024)  # TensorFlow's bicubic knows so many places between two pixels


class _Taps(Struct, frozen=True, eq=False):
    """For each pixel of a resized axis, the `places` (new, k) of those that it is made of, and their `weights`."""

    places: NDArray[np.intp]
    weights: NDArray[Any]


def resize(pixels: Pixels, size: tuple[int, int], how: Preprocess) -> Pixels:
    """Resize a picture as `how` says.

    Args:
        pixels: uint8 (height, width, channels).
        size: The new (height, width).
        how: Its resampling ("tensorflow", "torch" or "torch_uint8"), interpolation, antialias and rounded.

    Returns:
        uint8 where the resampling gives whole numbers, else float32 from 0 to 255 (bicubic goes a little beyond).
    """
    rows = _taps(pixels.shape[0], size[0], how)
    columns = _taps(pixels.shape[1], size[1], how)
    pixels, rows = _only_used(pixels, rows)
    if how.resampling == "torch_uint8":
        return _in_integers(_in_integers(pixels, columns, 1), rows, 0)
    if how.antialias:  # sums have no order to keep, and rows are faster to fetch
        blended = _in_floats(_in_floats(pixels, rows, 0), columns, 1)
    else:
        blended = _in_floats(_in_floats(pixels, columns, 1), rows, 0)
    return np.rint(blended).clip(0, 255).astype(np.uint8) if how.rounded else blended


def _only_used(pixels: Pixels, rows: _Taps) -> tuple[Pixels, _Taps]:
    """The rows that are taken at all: few, when a photo shrinks without averages."""
    used, places = np.unique(rows.places, return_inverse=True)
    return pixels[used], _Taps(places.reshape(rows.places.shape), rows.weights)


def _taps(old: int, new: int, how: Preprocess) -> _Taps:
    """The taps that make `new` pixels of an axis with `old`."""
    if new == old or how.interpolation == "nearest":
        step = np.float32(old) / np.float32(new)
        nearest = ((np.arange(new, dtype=np.float32) + _HALF) * step).astype(np.intp).clip(0, old - 1)
        return _Taps(nearest[:, None], np.ones((new, 1), np.float32))
    if how.resampling == "torch_uint8":
        places, weights = _averages(old, new, np.float64(old / new), how.interpolation)
    elif how.antialias:
        places, weights = _averages(old, new, _rounded_step(old, new, how), how.interpolation)
    elif how.interpolation == "bilinear":
        places, weights = _between_two(_centers(old, new, how))
    else:
        places, weights = _between_four(_centers(old, new, how), old, how)
    return _Taps(places.clip(0, old - 1), weights)


def _rounded_step(old: int, new: int, how: Preprocess) -> np.float32:
    """How many old pixels a new one spans, rounded as often as the library rounds it."""
    if how.resampling == "tensorflow":
        return np.float32(1) / (np.float32(new) / np.float32(old))
    return np.float32(old) / np.float32(new)


def _averages(old: int, new: int, step: Any, interpolation: str) -> _Weights:
    """Weights by a kernel that grows with the step, so that every pixel counts when a picture shrinks."""
    dtype = type(step)
    span = max(step, dtype(1))
    reach = dtype(_RADIUS[interpolation]) * span
    centers = (np.arange(new, dtype=dtype) + dtype(0.5)) * step
    firsts = np.floor(centers - reach + dtype(0.5)).astype(np.intp)
    places = firsts[:, None] + np.arange(2 * math.ceil(reach) + 1)
    distances = (places.astype(dtype) - centers[:, None] + dtype(0.5)) * (dtype(1) / span)
    kernel = np.maximum(1 - np.abs(distances), 0) if interpolation == "bilinear" else _cubic(distances, dtype(-0.5))
    return places, _within(places, kernel, old)


def _centers(old: int, new: int, how: Preprocess) -> NDArray[np.float32]:
    """Where the middle of each new pixel lies among the old ones."""
    step, numbers = np.float32(old) / np.float32(new), np.arange(new, dtype=np.float32)
    if how.resampling == "torch":  # compiled to a fused multiply and add, which rounds once
        return (np.float64(step) * (numbers.astype(np.float64) + 0.5) - 0.5).astype(np.float32)
    return (numbers + _HALF) * step - _HALF


def _between_two(centers: NDArray[np.float32]) -> _Weights:
    lower = np.floor(centers)
    fraction = (centers - lower)[:, None]
    return lower.astype(np.intp)[:, None] + np.arange(2), np.concatenate([1 - fraction, fraction], axis=1)


def _between_four(centers: NDArray[np.float32], old: int, how: Preprocess) -> _Weights:
    """Bicubic: over an edge, PyTorch repeats the last pixel and TensorFlow leaves it out."""
    lower = np.floor(centers)
    fraction = (centers - lower)[:, None]
    places, offsets = lower.astype(np.intp)[:, None] + np.arange(-1, 3), np.arange(-1, 3, dtype=np.float32)
    if how.resampling == "torch":
        return places, _cubic(offsets - fraction, np.float32(-0.75))
    fraction = np.rint(fraction * _TABLE_STEPS) / _TABLE_STEPS
    return places, _within(places, _cubic(offsets - fraction, np.float32(-0.5)), old)


def _cubic(distances: NDArray[Any], parameter: Any) -> NDArray[Any]:
    """The cubic convolution kernel of Keys (1981) with its free parameter."""
    x = np.abs(distances)
    near = ((parameter + 2) * x - (parameter + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * parameter
    return np.asarray(np.where(x < 1, near, np.where(x < 2, far, x.dtype.type(0))))


def _within(places: NDArray[np.intp], weights: NDArray[Any], old: int) -> NDArray[Any]:
    """The weights of places that there are; those of one new pixel sum up to 1."""
    weights[(places < 0) | (places >= old)] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def _in_floats(pixels: Pixels, taps: _Taps, axis: int) -> Pixels:
    """Blend along an axis in float32; two pixels in the order of operations that TensorFlow has."""
    count = taps.places.shape[1]
    first = pixels.take(taps.places[:, 0], axis).astype(np.float32)
    if count == 1:
        return first
    if count == 2:
        second = pixels.take(taps.places[:, 1], axis).astype(np.float32)
        second -= first
        second *= _along(taps.weights[:, 1], axis)
        return np.add(first, second, out=first)
    first *= _along(taps.weights[:, 0], axis)
    for tap in range(1, count):
        first += pixels.take(taps.places[:, tap], axis) * _along(taps.weights[:, tap], axis)
    return first


def _in_integers(pixels: Pixels, taps: _Taps, axis: int) -> Pixels:
    """Blend along an axis with weights of 16 bits, as PyTorch does, and round to uint8."""
    if taps.places.shape[1] == 1:
        return pixels.take(taps.places[:, 0], axis)
    bits = _bits_in_int16(float(taps.weights.max()))
    weights = np.trunc(taps.weights * (1 << bits) + np.copysign(0.5, taps.weights)).astype(np.int32)
    products = (
        pixels.take(taps.places[:, tap], axis) * _along(weights[:, tap], axis) for tap in range(weights.shape[1])
    )
    total: Any = sum(products, start=np.int32(1 << (bits - 1)))
    return np.asarray((total >> bits).clip(0, 255).astype(np.uint8))


def _bits_in_int16(largest: float) -> int:
    """Bits behind the point, so that the largest weight still fits."""
    return next((bits for bits in range(22) if int(0.5 + largest * (1 << (bits + 1))) >= 1 << 15), 22)


def _along(weights: NDArray[Any], axis: int) -> NDArray[Any]:
    return weights.reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
