"""Float weights behind the quantized ones, while a model trains.

The model computes with quantized weights; the gradient there moves the float weights behind them, as if rounding were
the identity: the straight-through estimator (Bengio, Léonard, Courville 2013; Jacob et al., "Quantization and Training
of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018). Done around each batch, on the model's own
weights: whatever it is made of, nothing is wrapped and nothing is left behind.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from edgeward_converters.compress.quantization_aware import grid

Array = NDArray[Any]
_RESCALINGS = 25  # how often the scales are chosen anew, all in the first half: then the weights settle on one grid


class Weight(Struct, frozen=True):
    """One layer's weight.

    Attributes:
        layer: The name of its layer.
        axes: Those that count its output channels.
        read: Gives its values, as an array of its own.
        write: Sets its values.
    """

    layer: str
    axes: tuple[int, ...]
    read: Callable[[], Array]
    write: Callable[[Array], None]


class Shadow:
    """The float values of one weight, which the model itself has quantized from `quantize` to `take`."""

    def __init__(self, weight: Weight, bits: int) -> None:
        self._weight = weight
        self._bits = bits
        self._floats = weight.read()
        self._scale = grid.scales(self._floats, weight.axes, bits)

    def quantize(self, index: int, total: int) -> None:
        """Before a batch: give the model quantized values."""
        half = (total + 1) // 2
        if index < half and index % max(1, half // _RESCALINGS) == 0:
            self._scale = grid.scales(self._floats, self._weight.axes, self._bits)
        self._quantized = grid.on_grid(self._floats, self._scale, self._bits)
        self._weight.write(self._quantized)

    def take(self, index: int, total: int) -> None:
        """After the optimizer's update: move the floats as the model's values have moved."""
        self._floats = np.asarray(self._floats + (self._weight.read() - self._quantized), np.float32)

    def finish(self) -> None:
        """Leave the model with values on the grid, each channel reaching its end: so the grid can be read off them."""
        self._weight.write(grid.to_the_end(self._floats, self._scale, self._weight.axes, self._bits))
