"""Keras models: where their kernels are, and the graph made anew with stages in the place of layers.

Only Keras's own classes count, in functional and sequential models and in those that are nested in them. What is in
wrappers stays as it is.
"""

from typing import Any

import keras
import numpy as np
from keras.src.models.functional import Functional

from edgeward_converters.compress.factorization.forms import Stages
from edgeward_converters.compress.factorization.stages import Array, Site, Stage
from edgeward_runtimes.errors import ConfigError

_CONVOLUTIONS = {keras.layers.Conv1D: 1, keras.layers.Conv2D: 2, keras.layers.Conv3D: 3}
_DEPTHWISE = {keras.layers.Conv1D: keras.layers.DepthwiseConv1D, keras.layers.Conv2D: keras.layers.DepthwiseConv2D}
_RECURRENT = (keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN)
# Made for the one kernel; of two factors it would mean something else.
_OF_ONE_KERNEL = ("kernel_regularizer", "kernel_constraint", "embeddings_regularizer", "embeddings_constraint")


def sites(model: Any) -> list[Site]:
    """The layers that can be replaced, each once, in the model's order. Raises ConfigError for another class."""
    if not _is_graph(model):
        raise ConfigError(
            f"The model {model.name!r} is of the class {type(model).__name__}, whose graph cannot be made anew; "
            "rebuild it as keras.Model(inputs, outputs) or keras.Sequential."
        )
    return [_site(name, layer) for name, layer in _layers(model).items() if _understood(layer)]


def write(model: Any, kernels: dict[str, Array]) -> None:
    """Put these kernels into the model's layers, in place."""
    layers = _layers(model)
    for name, kernel in kernels.items():
        _kernel(layers[name]).assign(kernel)


def replaced(model: Any, plan: dict[str, Stages]) -> Any:
    """A new model of the same names, inputs and outputs, with stages in the place of these layers."""
    rebuilding = _Rebuilding(model, plan)
    made = rebuilding.model(model)
    rebuilding.fill()
    return made


def _is_graph(model: Any) -> bool:
    return type(model) in (Functional, keras.Sequential)


def _layers(model: Any, within: str = "") -> dict[str, Any]:
    """All layers by name, those of nested models as `outer/inner`; a shared one once."""
    found: dict[str, Any] = {}
    for layer in model.layers:
        if _is_graph(layer):
            found.update(_layers(layer, f"{within}{layer.name}/"))
        else:
            found[within + layer.name] = layer
    first = {id(layer): name for name, layer in reversed(found.items())}
    return {name: layer for name, layer in found.items() if first[id(layer)] == name}


def _understood(layer: Any) -> bool:
    if getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None) is not None:
        return False
    if type(layer) in _CONVOLUTIONS:
        return bool(layer.groups == 1)
    if type(layer) in _RECURRENT:
        return not layer.stateful
    return type(layer) in (keras.layers.Dense, keras.layers.Embedding)


def _kernel(layer: Any) -> Any:
    if isinstance(layer, keras.layers.Embedding):
        return layer._embeddings
    return layer.cell.kernel if isinstance(layer, _RECURRENT) else layer.kernel


def _site(name: str, layer: Any) -> Site:
    kernel = np.array(_kernel(layer))  # not the memory of the weight that `write` changes
    if isinstance(layer, keras.layers.Embedding):
        return Site(name, "embedding", kernel)
    if isinstance(layer, _RECURRENT):
        return Site(name, "recurrent", kernel)
    if isinstance(layer, keras.layers.Dense):
        return Site(name, "dense", kernel)
    return Site(name, "convolution", kernel, int(np.prod(layer.strides)), _separable(layer))


def _separable(layer: Any) -> Any:
    """Keras's depthwise convolutions take equal strides, and no causal padding."""
    if type(layer) not in _DEPTHWISE or layer.padding == "causal" or len(set(layer.strides)) > 1:
        return "no"
    return "by_axis" if layer.strides[0] == 1 else "whole"


class _Chain:
    """Layers in a row in one layer's place; called as it was, wherever it was."""

    def __init__(self, layers: list[Any]) -> None:
        self.layers = layers

    def __call__(self, tensor: Any, *others: Any, **options: Any) -> Any:
        """What goes with the tensor, such as initial states, is for the last layer."""
        *before, last = self.layers
        for layer in before:
            tensor = layer(tensor)
        return last(tensor, *others, **options)


class _Rebuilding:
    """A model made anew: what has been made of each layer, and the weights that are still to be filled in."""

    def __init__(self, model: Any, plan: dict[str, Stages]) -> None:
        layers = _layers(model)
        self._stages = {id(layers[name]): stages for name, stages in plan.items()}
        self._taken = {layer.name for layer in layers.values()}
        self._made: dict[int, Any] = {}
        self._pairs: list[tuple[Any, Any]] = []

    def model(self, model: Any) -> Any:
        """A nested model, or the whole one."""
        if isinstance(model, keras.Sequential):
            made = [self._layer(layer) for layer in model.layers]
            flat = [layer for each in made for layer in (each.layers if isinstance(each, _Chain) else [each])]
            (tensor,) = model.inputs
            start = keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)
            return keras.Sequential([start, *flat], name=model.name, trainable=model.trainable)
        return keras.models.clone_model(model, clone_function=self._layer)

    def fill(self) -> None:
        """Copy the weights of layers that stayed, and put the kernels into the stages."""
        for old, new in self._pairs:
            if isinstance(new, _Chain):
                _fill(old, new.layers, self._stages[id(old)])
            else:
                new.set_weights(old.get_weights())

    def _layer(self, layer: Any) -> Any:
        """What stands for a layer, made once, so that shared ones stay shared."""
        if id(layer) not in self._made:
            self._made[id(layer)] = self._new(layer)
        return self._made[id(layer)]

    def _new(self, layer: Any) -> Any:
        if _is_graph(layer):
            return self.model(layer)
        if id(layer) in self._stages:
            new: Any = _Chain(self._chain(layer))
        else:
            new = type(layer).from_config(layer.get_config())
        if isinstance(layer, keras.Layer):
            self._pairs.append((layer, new))
        return new

    def _chain(self, layer: Any) -> list[Any]:
        *before, last = self._stages[id(layer)]
        first = [_stage(layer, stage, self._name(layer), index) for index, stage in enumerate(before)]
        return [*first, _last(layer, last)]

    def _name(self, layer: Any) -> str:
        number = 1
        while (name := f"{layer.name}_factor_{number}") in self._taken:
            number += 1
        self._taken.add(name)
        return name


def _fill(old: Any, layers: list[Any], stages: Stages) -> None:
    for layer, stage in zip(layers, stages, strict=True):
        weight = layer.kernel if stage.depthwise else _kernel(layer)
        weight.assign(stage.kernel[..., None] if stage.depthwise else stage.kernel)
    last = layers[-1]
    if isinstance(old, _RECURRENT):
        last.set_weights([np.asarray(_kernel(last)), *old.get_weights()[1:]])
    elif getattr(old, "bias", None) is not None:
        last.bias.assign(np.asarray(old.bias))


def _stage(layer: Any, stage: Stage, name: str, index: int) -> Any:
    """A stage that is not the last: no bias, no activation."""
    if isinstance(layer, keras.layers.Embedding) and index == 0:
        return _with(layer, name=name, output_dim=stage.kernel.shape[-1])
    if type(layer) in _CONVOLUTIONS:
        return _convolution(layer, stage, name=name, use_bias=False, activation=None, activity_regularizer=None)
    return _dense(layer, stage, name)


def _last(layer: Any, stage: Stage) -> Any:
    """The stage that has the layer's name, bias and activation."""
    if isinstance(layer, keras.layers.Embedding):
        return _dense(layer, stage, layer.name)
    return _convolution(layer, stage) if type(layer) in _CONVOLUTIONS else _with(layer)


def _dense(layer: Any, stage: Stage, name: str) -> Any:
    return keras.layers.Dense(
        stage.kernel.shape[-1], use_bias=False, name=name, dtype=layer.dtype_policy, trainable=layer.trainable
    )


def _convolution(layer: Any, stage: Stage, **changes: Any) -> Any:
    """A convolution that moves along the stage's axes as the layer did, and by single steps along the others."""
    *sizes, outputs = stage.kernel.shape
    if not stage.depthwise:
        sizes.pop()

    def along(values: Any) -> tuple[int, ...]:
        return tuple(value if axis in stage.axes else 1 for axis, value in enumerate(values))

    moving = {
        "kernel_size": tuple(sizes),
        "strides": along(layer.strides),
        "dilation_rate": along(layer.dilation_rate),
        "padding": layer.padding if stage.axes else "valid",
    }
    if stage.depthwise:
        return _DEPTHWISE[type(layer)](
            **moving,
            use_bias=False,
            data_format=layer.data_format,
            name=changes["name"],
            dtype=layer.dtype_policy,
            trainable=layer.trainable,
        )
    return _with(layer, filters=outputs, **moving, **changes)


def _with(layer: Any, **changes: Any) -> Any:
    """A layer of the same class and configuration, but for these changes and what was made for its one kernel."""
    config = layer.get_config()
    without = {key: None for key in _OF_ONE_KERNEL if key in config}
    return type(layer).from_config({**config, **without, **changes})
