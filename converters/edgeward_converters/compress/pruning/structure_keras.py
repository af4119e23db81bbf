"""Structured pruning of Keras models: the groups of a functional graph, and a smaller model made of the same layers.

The smaller model is made anew from the layers' configurations, with sizes that follow from what is left, and takes the
slices of the weights; names of layers, inputs and outputs stay.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeward_converters.compress.pruning.graph_keras import Element, Graph, elements, walk
from edgeward_converters.compress.pruning.structure import Cost, Criterion, Removed, named_groups
from edgeward_converters.compress.step import Trainable

Kept = NDArray[np.bool_]


def structure(model: Trainable, criterion: Criterion) -> "KerasStructure":
    """See a Keras model for pruning. Raises ConversionError when it shows no graph."""
    return KerasStructure(model.module, criterion)


class KerasStructure:
    """A Keras model, seen for pruning; see `structure.Structure`."""

    def __init__(self, model: Any, criterion: Criterion) -> None:
        self._model = model
        self._graph = walk(model)
        self._copy: Trainable | None = None
        self._roots, _ = self._graph.coupling.elements()
        self.names = tuple(self._graph.names.values())
        self._members: dict[str, list[Element]] = {}
        for element in elements(self._graph):
            self._members.setdefault("\n".join(element.layers), []).append(element)
        scores = _scores(self._graph, self._roots, criterion)
        self.groups = named_groups(
            (members[0].layers, scores[[element.root for element in members]]) for members in self._members.values()
        )

    def cost(self, removed: Removed) -> Cost:
        """The size of the model without these."""
        kept = self._kept(removed)
        fixed, macs = self._model.count_params(), 0
        for layer in self._graph.layers.values():
            sizes: dict[int, list[int]] = {}
            for axis in layer.axes:
                size = sizes.setdefault(id(axis.variable), list(axis.variable.shape))
                size[axis.axis] = int(kept[axis.channels].sum())
            for variable in {id(axis.variable): axis.variable for axis in layer.axes}.values():
                fixed += int(np.prod(sizes[id(variable)])) - int(np.prod(variable.shape))
            macs += sum(self._graph.work[id(kernel)] * int(np.prod(sizes[id(kernel)])) for kernel in layer.kernels)
        return Cost(fixed, macs)

    def without(self, removed: Removed) -> Trainable:
        """A smaller model without these; the one it is made of stays as it is."""
        return Trainable("keras", _rebuilt(self._model, self._graph, self._kept(removed)))

    def preview(self, removed: Removed) -> Trainable:
        """A copy of the model with zeros wherever these would be read."""
        if self._copy is None:
            self._copy = self.without({})
        self._copy.module.set_weights(self.silenced(removed))
        return self._copy

    def silenced(self, removed: Removed) -> list[NDArray[Any]]:
        """The model's weights, with zeros wherever these would be read: what is left computes the same without them."""
        kept = self._kept(removed)
        silent = {id(axis.variable): axis for layer in self._graph.layers.values() for axis in layer.axes if axis.reads}
        return [
            _zeroed(variable, silent[id(variable)].axis, kept[silent[id(variable)].channels])
            if id(variable) in silent
            else np.asarray(variable)
            for variable in self._model.weights
        ]

    def _kept(self, removed: Removed) -> Kept:
        """For each channel's number, whether it is left."""
        gone = np.zeros(len(self._roots), bool)
        for group, members in zip(self.groups, self._members.values(), strict=True):
            for index in removed.get(group.name, ()):
                gone[members[index].root] = True
        return ~gone[self._roots]


def _zeroed(variable: Any, axis: int, kept: Kept) -> NDArray[Any]:
    shape = [1] * len(variable.shape)
    shape[axis] = -1
    zeroed: NDArray[Any] = np.asarray(variable) * kept.reshape(shape)
    return zeroed


def _scores(graph: Graph, roots: NDArray[np.intp], criterion: Criterion) -> NDArray[np.float64]:
    """By root: the norm of an element's slice, relative to its weight's mean, averaged over the weights it lies in."""
    sums, counts = np.zeros(len(roots)), np.zeros(len(roots))
    for layer in graph.layers.values():
        scales = [axis for axis in layer.axes if axis.variable.name == "gamma"]
        kernels = [axis for axis in layer.axes if len(axis.variable.shape) > 1]
        for axis in (scales or kernels) if criterion == "bn_scale" else kernels:
            norms = _norms(np.asarray(axis.variable, np.float64), axis.axis, criterion)
            np.add.at(sums, roots[axis.channels], norms / (norms.mean() or 1.0))
            np.add.at(counts, roots[axis.channels], 1)
    scores: NDArray[np.float64] = sums / np.maximum(counts, 1)
    return scores


def _norms(weight: NDArray[np.float64], axis: int, criterion: Criterion) -> NDArray[np.float64]:
    slices = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
    power = 2 if criterion == "l2" else 1
    norms: NDArray[np.float64] = np.sum(np.abs(slices) ** power, axis=1) ** (1 / power)
    return norms


def _rebuilt(model: Any, graph: Graph, kept: Kept) -> Any:
    """The model again, of smaller layers, with what is left of the weights."""
    pairs: dict[int, tuple[Any, Any]] = {}

    def smaller(operation: Any) -> Any:
        if id(operation) not in pairs:
            nested = id(operation) in graph.entries
            made = remade(operation) if nested else type(operation).from_config(_configuration(operation, graph, kept))
            pairs[id(operation)] = (operation, made)
        return pairs[id(operation)][1]

    def remade(whole: Any) -> Any:
        import keras

        widths = [int(kept[channels].sum()) for channels in graph.entries[id(whole)]]
        entries = [_entry(tensor, width) for tensor, width in zip(whole.inputs, widths, strict=True)]
        packed = (
            entries[0] if isinstance(whole, keras.Sequential) else keras.tree.pack_sequence_as(whole.input, entries)
        )
        return keras.models.clone_model(whole, input_tensors=packed, clone_function=smaller)

    new = remade(model)
    slices: dict[int, list[tuple[int, Kept]]] = {}
    for layer in graph.layers.values():
        for axis in layer.axes:
            slices.setdefault(id(axis.variable), []).append((axis.axis, kept[axis.channels]))
    for old, made in pairs.values():
        for before, after in zip(getattr(old, "variables", ()), getattr(made, "variables", ()), strict=True):
            value = np.asarray(before)
            for place, left in slices.get(id(before), ()):
                value = np.compress(left, value, axis=value.ndim + place)
            after.assign(value)
    return new


def _entry(tensor: Any, width: int) -> Any:
    """An input like this one of so many channels: its layer's name and its own, which Keras lets differ."""
    import keras

    shape = (*tensor.shape[:-1], width) if width else tensor.shape
    entry = keras.Input(batch_shape=shape, dtype=tensor.dtype, name=tensor._keras_history.operation.name)
    entry.name = tensor.name
    return entry


def _configuration(layer: Any, graph: Graph, kept: Kept) -> dict[str, Any]:
    """The layer's configuration, with what is left of its sizes."""
    config: dict[str, Any] = _unbuilt(layer.get_config())
    if id(layer) in graph.layers:
        for path, channels in graph.layers[id(layer)].sizes.items():
            inner: Any = config
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = int(kept[channels].sum())
    if id(layer) in graph.reshaped and config["target_shape"][-1] != -1:
        config["target_shape"] = (*config["target_shape"][:-1], int(kept[graph.reshaped[id(layer)]].sum()))
    return config


def _unbuilt(config: Any) -> Any:
    """A copy without the shapes that nested layers were built with."""
    if isinstance(config, dict):
        return {key: _unbuilt(value) for key, value in config.items() if key != "build_config"}
    return [_unbuilt(each) for each in config] if isinstance(config, list) else config
