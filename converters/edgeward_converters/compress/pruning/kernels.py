"""The weights that pruning element by element may set to zero: kernels of layers, never biases or normalization."""

from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from edgeward_converters.compress.pruning.tuning import check_layers
from edgeward_converters.compress.step import Trainable
from edgeward_runtimes.errors import ConfigError


class Kernel(Protocol):
    """One weight of a live model.

    Attributes:
        layer: Name of the layer that has it.
        input_axis: The axis along which a sum over inputs runs, None for a weight that has none (an embedding's table,
            a depthwise convolution's kernel).
    """

    layer: str
    input_axis: int | None

    def read(self) -> NDArray[Any]:
        """Its values now, a copy."""
        ...

    def write(self, values: NDArray[Any]) -> None:
        """Put these in its place."""
        ...

    def mask(self, mask: NDArray[Any]) -> None:
        """Multiply it by a mask of zeros and ones, the same array as last time where nothing changed."""
        ...


def kernels(model: Trainable, layers: Sequence[str] | None, step: str) -> list[Kernel]:
    """The kernels of these layers, None for all. Raises ConfigError for a layer that is not there."""
    found = _found(model)
    if layers is not None:
        check_layers(layers, dict.fromkeys(kernel.layer for kernel in found), step)
        found = [kernel for kernel in found if kernel.layer in layers]
    if not found:
        raise ConfigError(f"{step}: this model has no kernels to prune; leave the step out.")
    return found


def _found(model: Trainable) -> list[Kernel]:
    module: Any
    if model.framework == "keras":
        from edgeward_converters.compress.pruning import kernels_keras as module
    else:
        from edgeward_converters.compress.pruning import kernels_torch as module
    found: list[Kernel] = module.kernels(model.module)
    return found
