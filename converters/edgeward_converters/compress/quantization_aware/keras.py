"""Keras: the weights that are quantized, and activations rounded where they enter a layer."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from edgeward_converters.compress.quantization_aware.shadow import Weight
from edgeward_converters.compress.step import Trainable
from edgeward_converters.compress.training.calls_keras import calling

_MOMENTUM = 0.99
_CHANNELS_LAST = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
)
_TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)


def weights(model: Trainable) -> list[Weight]:
    """The weights of dense layers, convolutions, recurrent layers and embeddings, in the model's order."""
    return [
        Weight(layer.name, axes, variable.numpy, variable.assign)
        for layer in model.module._flatten_layers(include_self=False)
        for variable, axes in (*_channels(layer), *_channels_of_others(layer))
    ]


@contextmanager
def rounded_activations(model: Trainable, bits: int | None) -> Iterator[None]:
    """Round what enters dense layers and convolutions to `bits`, in moving ranges (Jacob et al. 2018)."""
    with ExitStack() as stack:
        for layer in model.module._flatten_layers(include_self=False):
            if bits is not None and _channels(layer):
                stack.enter_context(calling(layer, _rounding(layer.call, bits)))
        yield


def _channels(layer: Any) -> list[tuple[Any, tuple[int, ...]]]:
    """The kernels of a dense layer or a convolution, and the axes that count their output channels."""
    if isinstance(layer, _SEPARABLE):
        depthwise, pointwise = layer.depthwise_kernel, layer.pointwise_kernel
        return [(depthwise, _last(depthwise, 2)), (pointwise, _last(pointwise, 1))]
    if isinstance(layer, _DEPTHWISE):
        return [(layer.kernel, _last(layer.kernel, 2))]
    if isinstance(layer, _TRANSPOSED):
        return [(layer.kernel, (len(layer.kernel.shape) - 2,))]
    if isinstance(layer, _CHANNELS_LAST):
        return [(layer.kernel, _last(layer.kernel, 1))]
    return []


def _channels_of_others(layer: Any) -> list[tuple[Any, tuple[int, ...]]]:
    """The same for layers whose inputs are not rounded: recurrent ones, and tables, of which each row is a channel."""
    if isinstance(layer, keras.layers.Embedding):
        return [(layer.embeddings, (0,))]
    if isinstance(layer, keras.layers.RNN) and hasattr(layer.cell, "recurrent_kernel"):
        return [(layer.cell.kernel, (1,)), (layer.cell.recurrent_kernel, (1,))]
    return []


def _last(kernel: Any, count: int) -> tuple[int, ...]:
    axes = len(kernel.shape)
    return tuple(range(axes - count, axes))


def _rounding(compute: Any, bits: int) -> Any:
    """The layer's computation on rounded inputs. Ranges are of no model: they go when training ends."""
    lowest, highest = tf.Variable(0.0), tf.Variable(0.0)
    seen = tf.Variable(False)

    def call(inputs: Any, *arguments: Any, **options: Any) -> Any:
        ends = (tf.cast(end, tf.float32) for end in (tf.reduce_min(inputs), tf.reduce_max(inputs)))
        for bound, now in zip((lowest, highest), ends, strict=True):
            bound.assign(tf.where(seen, _MOMENTUM * bound + (1 - _MOMENTUM) * now, now))
        seen.assign(True)
        rounded = _rounded(inputs, tf.minimum(lowest, 0.0), tf.maximum(highest, 0.0), 2**bits - 1)
        return compute(rounded, *arguments, **options)

    return call


def _rounded(values: Any, lowest: Any, highest: Any, steps: int) -> Any:
    """Clipped to the range and rounded to its steps, 0 being one of them; the gradient passes where not clipped."""
    scale = tf.maximum((highest - lowest) / steps, np.float32(1e-12))
    zero = tf.round(-lowest / scale)
    clipped = tf.clip_by_value(values, -zero * scale, (steps - zero) * scale)
    return clipped + tf.stop_gradient(tf.round(clipped / scale) * scale - clipped)
