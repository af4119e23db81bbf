"""Between public tensors and an artifact's where their dtypes differ.

Floats in and out of integers: real = (stored - zero_point) * scale. One vectorized pass over memory that is made once
for a shape. Rounds half to even and saturates, as the LiteRT quantization specification says; NaN has no integer and
becomes the lowest one.

Integers into narrower ones, as exporters make them of int64: what does not fit is an InputError and never another
number.
"""

from typing import Any

import numpy as np

from edgeward_runtimes.engines import Array, Port
from edgeward_runtimes.errors import InputError
from edgeward_runtimes.manifest import Tensor


class Quantizer:
    """From a public tensor's values to one port's dtype."""

    def __init__(self, port: Port, tensor: Tensor) -> None:
        self._name, self._dtype = tensor.name, np.dtype(port.dtype)
        self._is_quantized = _is_quantized(port, tensor)
        self._limits = _limits(np.dtype(tensor.dtype), self._dtype)
        if self._is_quantized:
            limits = np.iinfo(port.dtype)
            self._lowest, self._highest = np.float32(limits.min), np.float32(limits.max)
        self._scale, self._zero_point = np.float32(port.scale or 1.0), np.float32(port.zero_point)
        self._real = np.empty(0, np.float32)
        self._stored = np.empty(0, self._dtype)

    def __call__(self, array: Array) -> Array:
        """Give the array as the port has it; good until the next call. Raises InputError for integers beyond it."""
        if array.shape != self._stored.shape:
            self._real, self._stored = np.empty(array.shape, np.float32), np.empty(array.shape, self._dtype)
        if not self._is_quantized:
            if self._limits is not None:
                self._check(array, *self._limits)
            np.copyto(self._stored, array, casting="unsafe")
            return self._stored
        real = self._real
        np.divide(array, self._scale, out=real, casting="same_kind")
        np.rint(real, out=real)
        np.add(real, self._zero_point, out=real)
        np.fmin(np.fmax(real, self._lowest, out=real), self._highest, out=real)
        np.copyto(self._stored, real, casting="unsafe")
        return self._stored

    def _check(self, array: Array, lowest: int, highest: int) -> None:
        least, most = int(array.min()), int(array.max())
        if least < lowest or most > highest:
            raise InputError(
                f"Input {self._name!r} holds values from {least} to {most}, but this variant takes {self._dtype.name}: "
                f"{lowest} to {highest}. Check the values, or load another variant."
            )


class Dequantizer:
    """From one port's values to a public tensor's dtype."""

    def __init__(self, port: Port, tensor: Tensor) -> None:
        self._dtype = np.dtype(tensor.dtype)
        self._is_quantized = _is_quantized(port, tensor)
        self._scale, self._zero_point = np.float32(port.scale or 1.0), np.float32(port.zero_point)

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


def _limits(given: "np.dtype[Any]", taken: "np.dtype[Any]") -> tuple[int, int] | None:
    """The least and most that integers of one dtype may be as another; None where every value fits."""
    if given.kind not in "iu" or taken.kind not in "iu" or np.can_cast(given, taken):
        return None
    limits = np.iinfo(taken)
    return int(limits.min), int(limits.max)
