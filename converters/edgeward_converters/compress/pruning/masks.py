"""Masks over kernels, held while a model is trained. Masks are arrays of zeros and ones, made by pure functions."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeward_converters.compress.pruning.kernels import Kernel

Array = NDArray[Any]
Scope = Literal["layer", "global"]
# From the kernels' values to their masks.
Masking = Callable[[list[Array]], list[Array]]


class Masks:
    """The masks of some kernels: set anew now and then, and put on after every update."""

    def __init__(self, kernels: Sequence[Kernel]) -> None:
        self._kernels = kernels
        self._masks: list[Array] = []

    def renew(self, masking: Masking) -> None:
        """New masks from the values as they are, and put them on."""
        self._masks = masking([kernel.read() for kernel in self._kernels])
        self.put_on()

    def put_on(self) -> None:
        """Zeros wherever the masks have them."""
        for kernel, mask in zip(self._kernels, self._masks, strict=True):
            kernel.mask(mask)


def largest(values: list[Array], sparsity: float, scope: Scope) -> list[Array]:
    """Masks that keep the largest magnitudes: exactly the rounded share `sparsity` is zero, of each array or of all."""
    if scope == "layer":
        return [_largest(array.reshape(-1), sparsity).reshape(array.shape) for array in values]
    joined = _largest(np.concatenate([array.reshape(-1) for array in values]), sparsity)
    ends = np.cumsum([array.size for array in values])[:-1]
    return [mask.reshape(array.shape) for mask, array in zip(np.split(joined, ends), values, strict=True)]


def n_of_m(values: Array, axis: int, n: int, m: int) -> Array:
    """A mask that keeps the n largest magnitudes of every m consecutive elements along an axis, of equal the first.

    The elements after the last full m count as a group of their own, of which at most n stay.
    """
    rows = np.moveaxis(values, axis, -1)
    length = rows.shape[-1]
    padded = np.full((*rows.shape[:-1], -(-length // m) * m), -1.0)
    padded[..., :length] = np.abs(rows)
    groups = padded.reshape(*rows.shape[:-1], -1, m)
    order = np.argsort(-groups, axis=-1, kind="stable")
    mask = np.zeros(groups.shape, np.float32)
    np.put_along_axis(mask, order[..., :n], 1.0, axis=-1)
    flat = mask.reshape(padded.shape)[..., :length]
    return np.ascontiguousarray(np.moveaxis(flat, -1, axis))


def _largest(values: Array, sparsity: float) -> Array:
    mask = np.ones(values.size, np.float32)
    mask[np.argsort(np.abs(values), kind="stable")[: round(sparsity * values.size)]] = 0.0
    return mask
