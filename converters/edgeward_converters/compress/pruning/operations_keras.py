"""Keras operations without weights of their own: how they hand the numbers of their inputs' channels on.

What is not here is not understood: its inputs' channels stay, and so do those of its outputs.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from msgspec import Struct

from edgeward_converters.compress.pruning.coupling import Channels, Coupling
from edgeward_converters.compress.pruning.rules_keras import elementwise

Shape = tuple[int | None, ...]
_POOLINGS = ("MaxPooling{}D", "AveragePooling{}D", "GlobalMaxPooling{}D", "GlobalAveragePooling{}D")
_PASSING = frozenset(
    [pooling.format(rank) for pooling in _POOLINGS for rank in (1, 2, 3)]
    + [f"{kind}{rank}D" for kind in ("ZeroPadding", "Cropping", "UpSampling", "SpatialDropout") for rank in (1, 2, 3)]
    + ["ReLU", "LeakyReLU", "ELU", "Dropout", "GaussianDropout", "GaussianNoise", "AlphaDropout"]
    + ["Identity", "ActivityRegularization", "RepeatVector"]
)
# fmt: off
_PASSING_OPERATIONS = frozenset(
    {
        "Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Gelu", "Celu", "Silu", "Sigmoid", "LogSigmoid", "HardSigmoid",
        "HardSilu", "Tanh", "HardTanh", "TanhShrink", "Softplus", "Softsign", "Squareplus", "Absolute", "Negative",
        "Square", "Sqrt", "Exp",
    }
)
# fmt: on
_MERGING = frozenset(["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"])
_MERGING_OPERATIONS = frozenset(["Add", "Subtract", "Multiply", "TrueDivide", "Divide", "Maximum", "Minimum"])


class Call(Struct, frozen=True):
    """One operation in the graph: what came in, as numbers and shapes, and the shape that goes out."""

    operation: Any
    arguments: tuple[Any, ...]
    channels: tuple[Channels, ...]
    shapes: tuple[Shape, ...]
    result: Shape


def passed(call: Call, coupling: Coupling) -> Channels | None:
    """The numbers of the output's channels, None for an operation that is not understood."""
    name = type(call.operation).__name__
    module = type(call.operation).__module__
    if getattr(call.operation, "data_format", None) == "channels_first":
        return None
    if module.startswith("keras.src.layers."):
        if name in _PASSING:
            return _alone(call)
        return _merged(call, coupling) if name in _MERGING else _of_layers(name, call, coupling)
    if module.startswith("keras.src.ops."):
        if name in _PASSING_OPERATIONS:
            return _alone(call)
        return _merged_with_numbers(call, coupling) if name in _MERGING_OPERATIONS else None
    return None


def _of_layers(name: str, call: Call, coupling: Coupling) -> Channels | None:
    special: dict[str, Callable[[Call, Coupling], Channels | None]] = {
        "Activation": _activated,
        "Concatenate": _concatenated,
        "Flatten": _folded,
        "Reshape": _folded,
        "Permute": _permuted,
        "Rescaling": _rescaled,
    }
    return special[name](call, coupling) if name in special else None


def _alone(call: Call) -> Channels | None:
    return call.channels[0] if len(call.channels) == 1 else None


def _activated(call: Call, coupling: Coupling) -> Channels | None:
    return _alone(call) if elementwise(call.operation.activation) else None


def _rescaled(call: Call, coupling: Coupling) -> Channels | None:
    numbers = all(np.ndim(each) == 0 for each in (call.operation.scale, call.operation.offset))
    return _alone(call) if numbers else None


def _permuted(call: Call, coupling: Coupling) -> Channels | None:
    dims = call.operation.dims
    return _alone(call) if dims[-1] == len(dims) else None


def _merged(call: Call, coupling: Coupling) -> Channels | None:
    """Channel by channel; one channel that is spread over all stays."""
    if len({len(shape) for shape in call.shapes}) != 1:
        return None
    widest = max(call.channels, key=len)
    for channels in call.channels:
        if len(channels) == len(widest):
            coupling.unite(channels, widest)
        elif len(channels) == 1:
            coupling.pin(channels)
        else:
            return None
    return widest


def _merged_with_numbers(call: Call, coupling: Coupling) -> Channels | None:
    """`x + y` of two tensors, or of one and a plain number."""
    others = len(call.arguments) - len(call.channels)
    numbers = [each for each in call.arguments if isinstance(each, int | float)]
    return _merged(call, coupling) if len(numbers) == others else None


def _concatenated(call: Call, coupling: Coupling) -> Channels | None:
    rank = len(call.shapes[0])
    if call.operation.axis % rank == rank - 1:
        return np.concatenate(call.channels)
    return _merged(call, coupling)


def _folded(call: Call, coupling: Coupling) -> Channels | None:
    """A new shape whose last axis is a multiple of the channels: an element's place modulo them is its channel."""
    if len(call.channels) != 1 or not call.result[-1] or not len(call.channels[0]):
        return None
    times, rest = divmod(call.result[-1], len(call.channels[0]))
    return None if rest else np.tile(call.channels[0], times)
