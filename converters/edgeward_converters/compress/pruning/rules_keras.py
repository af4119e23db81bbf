"""Keras layers that have weights: along which axes their channels lie, and what of their configuration follows.

One small function per kind of layer; a kind that is not here is not understood, and its channels stay. Only Keras's own
classes count: a subclass may compute anything. All take their channels in the last axis of their tensors.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from msgspec import Struct

from edgeward_converters.compress.pruning.coupling import Channels, Coupling

# fmt: off
_ELEMENTWISE = frozenset(
    {
        "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "swish", "mish", "tanh",
        "sigmoid", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "tanh_shrink", "log_sigmoid",
        "exponential", "softplus", "softsign", "squareplus",
    }
)
# fmt: on
_GATES = {"SimpleRNN": 1, "GRU": 3, "LSTM": 4}


class Axis(Struct, frozen=True):
    """The channels along one axis of one weight.

    Attributes:
        variable: The Keras variable.
        axis: Counted from the end.
        channels: Their numbers, one for each index.
        reads: Whether a channel has no effect when its slice is zero here.
    """

    variable: Any
    axis: int
    channels: Channels
    reads: bool = False


class Layer(Struct, frozen=True):
    """A layer that is understood.

    Attributes:
        takes: Numbers of the channels of its input.
        gives: Those of its output.
        axes: Where they lie in its weights.
        sizes: Paths into its configuration, and the channels that are counted there.
        kernels: Weights that are multiplied with its input, once for each position.
    """

    takes: Channels
    gives: Channels
    axes: tuple[Axis, ...] = ()
    sizes: Mapping[tuple[str, ...], Channels] = {}
    kernels: tuple[Any, ...] = ()


Rule = Callable[[Any, Channels, Coupling], "Layer | None"]


def rule(layer: Any) -> Rule | None:
    """The rule for this layer, None where there is none."""
    own = type(layer).__module__.startswith("keras.src.layers.")
    first = getattr(layer, "data_format", None) == "channels_first"
    quantized = getattr(layer, "quantization_mode", None) is not None or getattr(layer, "lora_enabled", False)
    return RULES.get(type(layer).__name__) if own and not first and not quantized else None


def elementwise(activation: Any) -> bool:
    """Whether a Keras activation treats every channel by itself, unlike a softmax."""
    import keras

    name = keras.activations.serialize(activation)
    return isinstance(name, str) and name in _ELEMENTWISE


def _dense(layer: Any, takes: Channels, coupling: Coupling) -> Layer:
    gives = _made(layer, layer.units, coupling)
    axes = (Axis(layer.kernel, -2, takes, True), Axis(layer.kernel, -1, gives), *_last(gives, layer.bias))
    return Layer(takes, gives, axes, {("units",): gives}, (layer.kernel,))


def _convolution(layer: Any, takes: Channels, coupling: Coupling) -> Layer | None:
    if layer.groups != 1:
        return None
    gives = _made(layer, layer.filters, coupling)
    axes = (Axis(layer.kernel, -2, takes, True), Axis(layer.kernel, -1, gives), *_last(gives, layer.bias))
    return Layer(takes, gives, axes, {("filters",): gives}, (layer.kernel,))


def _transposed(layer: Any, takes: Channels, coupling: Coupling) -> Layer:
    gives = _made(layer, layer.filters, coupling)
    axes = (Axis(layer.kernel, -1, takes, True), Axis(layer.kernel, -2, gives), *_last(gives, layer.bias))
    return Layer(takes, gives, axes, {("filters",): gives}, (layer.kernel,))


def _depthwise(layer: Any, takes: Channels, coupling: Coupling) -> Layer:
    gives = np.repeat(takes, layer.depth_multiplier)
    if not elementwise(layer.activation):
        coupling.pin(gives)
    axes = (Axis(layer.kernel, -2, takes), *_last(gives, layer.bias))
    return Layer(takes, gives, axes, {}, (layer.kernel,))


def _separable(layer: Any, takes: Channels, coupling: Coupling) -> Layer:
    between, gives = np.repeat(takes, layer.depth_multiplier), _made(layer, layer.filters, coupling)
    depthwise, pointwise = layer.depthwise_kernel, layer.pointwise_kernel
    axes = (
        Axis(depthwise, -2, takes),
        Axis(pointwise, -2, between, True),
        Axis(pointwise, -1, gives),
        *_last(gives, layer.bias),
    )
    return Layer(takes, gives, axes, {("filters",): gives}, (depthwise, pointwise))


def _normalization(layer: Any, takes: Channels, coupling: Coupling) -> Layer | None:
    if layer.axis not in (-1, layer.input_spec.ndim - 1):
        return None
    weights = (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
    return Layer(takes, takes, _last(takes, *weights))


def _prelu(layer: Any, takes: Channels, coupling: Coupling) -> Layer:
    shared = layer.alpha.shape[-1] != len(takes)
    return Layer(takes, takes, () if shared else _last(takes, layer.alpha))


def _embedding(layer: Any, takes: Channels, coupling: Coupling) -> Layer:
    coupling.pin(takes)
    gives = coupling.fresh(layer.output_dim)
    return Layer(takes, gives, _last(gives, layer.embeddings), {("output_dim",): gives})


def _recurrent(layer: Any, takes: Channels, coupling: Coupling) -> Layer | None:
    if not _plain(layer):
        return None
    gives = coupling.fresh(layer.units)
    return Layer(takes, gives, _cell(layer, takes, gives), {("units",): gives}, _cell_kernels(layer))


def _bidirectional(layer: Any, takes: Channels, coupling: Coupling) -> Layer | None:
    """Unit i of both directions goes together, since both are made of one configuration."""
    both = (layer.forward_layer, layer.backward_layer)
    alike = type(both[0]) is type(both[1]) and both[0].units == both[1].units
    if type(both[0]).__name__ not in _GATES or not alike or not all(_plain(each) for each in both):
        return None
    if layer.merge_mode is None:
        return None
    units = coupling.fresh(both[0].units)
    gives = np.tile(units, 2) if layer.merge_mode == "concat" else units
    axes = tuple(axis for each in both for axis in _cell(each, takes, units))
    sizes: dict[tuple[str, ...], Channels] = {
        (direction, "config", "units"): units for direction in ("layer", "backward_layer")
    }
    return Layer(takes, gives, axes, sizes, tuple(kernel for each in both for kernel in _cell_kernels(each)))


def _plain(layer: Any) -> bool:
    """A recurrent layer that gives nothing but its output, with activations that keep units apart."""
    activations = (layer.activation, getattr(layer, "recurrent_activation", None))
    return (
        not layer.return_state and not layer.stateful and all(each is None or elementwise(each) for each in activations)
    )


def _cell(layer: Any, takes: Channels, gives: Channels) -> tuple[Axis, ...]:
    cell, gates = layer.cell, np.tile(gives, _GATES[type(layer).__name__])
    return (
        Axis(cell.kernel, -2, takes, True),
        Axis(cell.kernel, -1, gates),
        Axis(cell.recurrent_kernel, -2, gives, True),
        Axis(cell.recurrent_kernel, -1, gates),
        *_last(gates, cell.bias),
    )


def _cell_kernels(layer: Any) -> tuple[Any, ...]:
    return (layer.cell.kernel, layer.cell.recurrent_kernel)


def _made(layer: Any, count: int, coupling: Coupling) -> Channels:
    """New channels; they stay where the layer's activation mixes them."""
    return coupling.fresh(count) if elementwise(layer.activation) else coupling.pinned(count)


def _last(channels: Channels, *variables: Any) -> tuple[Axis, ...]:
    return tuple(Axis(variable, -1, channels) for variable in variables if variable is not None)


RULES: dict[str, Rule] = {
    "Dense": _dense,
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), _convolution),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), _transposed),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), _depthwise),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), _separable),
    "BatchNormalization": _normalization,
    "PReLU": _prelu,
    "Embedding": _embedding,
    **dict.fromkeys(_GATES, _recurrent),
    "Bidirectional": _bidirectional,
}
