"""Keras variables that are kernels. A layer in another model is called `outer/inner`, one in a wrapper as that."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edgeward_converters.compress.pruning.kernels import Kernel

_TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)


class KerasKernel:
    """A Keras variable; see `kernels.Kernel`."""

    def __init__(self, layer: str, variable: Any, input_axis: int | None) -> None:
        self.layer = layer
        self.input_axis = input_axis
        self._variable = variable
        self._mask: tuple[NDArray[Any], Any] | None = None

    def read(self) -> NDArray[Any]:
        """Its values now, a copy."""
        return np.array(self._variable)

    def write(self, values: NDArray[Any]) -> None:
        """Put these in its place."""
        self._variable.assign(values)

    def mask(self, mask: NDArray[Any]) -> None:
        """Multiply it by a mask."""
        if self._mask is None or self._mask[0] is not mask:
            self._mask = (mask, tf.constant(mask, self._variable.dtype))
        self._variable.assign(self._variable.value * self._mask[1])


def kernels(model: Any) -> list[Kernel]:
    """Every kernel of a model, those that layers share once."""
    seen: set[int] = set()
    found: list[Kernel] = []
    for name, layer in _layers(model, ""):
        for inner in layer._flatten_layers():
            for variable in inner._trainable_variables:
                if _is_kernel(variable) and id(variable) not in seen:
                    seen.add(id(variable))
                    found.append(KerasKernel(name, variable, _input_axis(inner, variable)))
    return found


def _layers(model: Any, within: str) -> Iterator[tuple[str, Any]]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer, f"{within}{layer.name}/")
        else:
            yield f"{within}{layer.name}", layer


def _is_kernel(variable: Any) -> bool:
    return len(variable.shape) > 1 and any(part in variable.name for part in ("kernel", "embeddings"))


def _input_axis(layer: Any, variable: Any) -> int | None:
    """Kernels are (…, in, out), of transposed convolutions (…, out, in)."""
    if isinstance(layer, keras.layers.EinsumDense) or "embeddings" in variable.name:
        return None
    depthwise = isinstance(layer, keras.layers.DepthwiseConv1D | keras.layers.DepthwiseConv2D)
    if depthwise or "depthwise" in variable.name:
        return None
    return len(variable.shape) - (1 if isinstance(layer, _TRANSPOSED) else 2)
