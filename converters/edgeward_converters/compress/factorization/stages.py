"""A layer as a row of smaller ones: what stands in for one kernel. Pure.

Kernels are laid out as Keras has them: (…, in, out) with the spatial axes first; of a depthwise stage (…, channels). A
Dense layer or an embedding is a kernel without spatial axes.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct
from numpy.typing import NDArray

Array = NDArray[Any]
Kind = Literal["dense", "embedding", "recurrent", "convolution"]


class Site(Struct, frozen=True):
    """A layer that may be replaced.

    Attributes:
        name: As the model calls it; nested models' layers are `outer/inner`.
        kind: What it does with its kernel: a recurrent layer's is that of its inputs.
        kernel: Its weights in the layout above.
        thinning: How many positions of the input there are for one of the output: the product of the strides.
        separable: Whether a depthwise convolution may stand in for it, and one for each spatial axis.
    """

    name: str
    kind: Kind
    kernel: Array
    thinning: int = 1
    separable: Literal["no", "whole", "by_axis"] = "no"

    @property
    def pointwise(self) -> bool:
        """Whether the kernel is a matrix: no spatial axes, or sizes of 1 along them."""
        return all(size == 1 for size in self.kernel.shape[:-2])


class Stage(Struct, frozen=True):
    """One of the layers in a replaced layer's place, without bias and activation; the last one gets the layer's own.

    Attributes:
        kernel: Its weights in the layout above.
        depthwise: Whether each channel is convolved by itself.
        axes: The spatial axes along which it moves as the layer did, with its strides, dilation and padding.
    """

    kernel: Array
    depthwise: bool = False
    axes: tuple[int, ...] = ()


def composed(stages: Sequence[Stage]) -> Array:
    """The one kernel that the stages are together."""
    result = stages[0].kernel
    for stage in stages[1:]:
        # Along each spatial axis at most one stage is larger than 1, so broadcasting makes the outer product.
        result = result * stage.kernel[..., None, :] if stage.depthwise else result @ stage.kernel
    return result


def saves(site: Site, stages: Sequence[Stage]) -> bool:
    """Whether the stages have fewer parameters than the layer, and in a convolution fewer multiplications as well."""
    if sum(stage.kernel.size for stage in stages) >= site.kernel.size:
        return False
    return multiplications(site, stages) < site.kernel.size or site.kind == "embedding"


def multiplications(site: Site, stages: Sequence[Stage]) -> int:
    """Multiplications for one position of the layer's output."""
    total, moved = 0, False
    for stage in stages:
        moved = moved or bool(stage.axes)
        total += stage.kernel.size * (1 if moved else site.thinning)
    return total


def matrix(site: Site) -> Array:
    """The kernel of a pointwise site as (in, out)."""
    return site.kernel.reshape(site.kernel.shape[-2:])


def spatial_size(site: Site) -> int:
    """How many weights there are between one input and one output channel."""
    return math.prod(site.kernel.shape[:-2])
