"""Floats in and out of an artifact whose tensors are integers: real = (stored - zero_point) * scale.

One vectorized pass over memory that is made once for a shape. Rounds half to even and saturates, as the LiteRT
quantization specification says; NaN has no integer and becomes the lowest one.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeward_runtimes.engines import Port
from edgeward_runtimes.manifest import Tensor

Array = NDArray[Any]


class Quantizer:
    """From a public tensor's values to one port's dtype."""

    def __init__(self, port: Port, tensor: Tensor) -> None:
        self._dtype = np.dtype(port.dtype)
        self._is_quantized = _is_quantized(port, tensor)
        if self._is_quantized:
            limits = np.iinfo(port.dtype)
            self._lowest, self._highest = np.float32(limits.min), np.float32(limits.max)
        self._scale, self._zero_point = np.float32(port.scale or 1.0), np.float32(port.zero_point)
        self._real = np.empty(0, np.float32)
        self._stored = np.empty(0, self._dtype)

    @classmethod
    def of(cls, port: Port, tensor: Tensor) -> "Quantizer | None":
        """The quantizer that a port needs for a public tensor, or None when they are alike."""
        return None if np.dtype(port.dtype) == np.dtype(tensor.dtype) else cls(port, tensor)

    def __call__(self, array: Array) -> Array:
        """Give the array as the port has it; good until the next call."""
        if array.shape != self._stored.shape:
            self._real, self._stored = np.empty(array.shape, np.float32), np.empty(array.shape, self._dtype)
        if not self._is_quantized:
            np.copyto(self._stored, array, casting="unsafe")
            return self._stored
        real = self._real
        np.divide(array, self._scale, out=real, casting="same_kind")
        np.rint(real, out=real)
        np.add(real, self._zero_point, out=real)
        np.fmin(np.fmax(real, self._lowest, out=real), self._highest, out=real)
        np.copyto(self._stored, real, casting="unsafe")
        return self._stored


class Dequantizer:
    """From one port's values to a public tensor's dtype."""

    def __init__(self, port: Port, tensor: Tensor) -> None:
        self._dtype = np.dtype(tensor.dtype)
        self._is_quantized = _is_quantized(port, tensor)
        self._scale, self._zero_point = np.float32(port.scale or 1.0), np.float32(port.zero_point)

    @classmethod
    def of(cls, port: Port, tensor: Tensor) -> "Dequantizer | None":
        """The dequantizer that a port needs for a public tensor, or None when they are alike."""
        return None if np.dtype(port.dtype) == np.dtype(tensor.dtype) else cls(port, tensor)

    def __call__(self, array: Array, out: Array | None = None) -> Array:
        """Give the array's real values, in `out` where one is given."""
        out = np.empty(array.shape, self._dtype) if out is None else out
        if not self._is_quantized:
            np.copyto(out, array, casting="unsafe")
            return out
        np.subtract(array, self._zero_point, out=out, casting="unsafe")
        np.multiply(out, self._scale, out=out)
        return out


def _is_quantized(port: Port, tensor: Tensor) -> bool:
    """Whether the port's integers stand for the public tensor's floats."""
    return port.scale is not None and np.dtype(tensor.dtype).kind == "f" and np.dtype(port.dtype).kind in "iu"
