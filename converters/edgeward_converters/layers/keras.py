"""The layers of a Keras model: its SavedModel's operations, named by the Keras layer that they belong to.

Keras runs once beside it with every layer recorded, nested models' layers too. Where a layer's output is found among
the SavedModel's tensors, that tensor has the layer's name, and the operations in its scope are `layer/operation`.
"""

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from edgeward_converters.layers.graph import Graph, Operation
from edgeward_converters.layers.saved_model import SavedModelTracer
from edgeward_converters.sources import Source
from edgeward_converters.sources import keras as keras_source

_TOLERANCE = 1e-5
_COUNTED = r"(_\d+)*"  # what TensorFlow appends to a scope that it has had before


def open_tracer(source: Source) -> "KerasTracer":
    """Open the Keras file and its SavedModel."""
    return KerasTracer(source)


class KerasTracer:
    """See `graph.Tracer`. The names are known after the first run."""

    def __init__(self, source: Source) -> None:
        self.batch = source.batch
        self._source = source
        self._inner = SavedModelTracer(source)
        self._graph: Graph | None = None

    @property
    def graph(self) -> Graph:
        """The SavedModel's graph, with Keras's names once it ran."""
        return self._graph or self._inner.graph

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run one batch."""
        values = self._inner.run(inputs)
        if self._graph is None:
            outputs = _layer_outputs(self._source, inputs)
            self._graph = _named(self._inner.graph, outputs, values)
        return values


def _layer_outputs(source: Source, inputs: Mapping[str, NDArray[Any]]) -> list[tuple[str, NDArray[Any]]]:
    """Every output of every layer in the order of the calls, by Keras itself."""
    model = keras_source.load(source.path)
    recorded: list[tuple[str, NDArray[Any]]] = []
    for layer in model._flatten_layers(include_self=False):
        layer.call = _recording(layer, recorded)
    tensors = [inputs[tensor.name] for tensor in source.inputs]
    model(keras_source.structured(model, tensors), training=False)
    return recorded


def _recording(layer: Any, recorded: list[tuple[str, NDArray[Any]]]) -> Any:
    """The layer's call, with what it gives written down."""

    import keras

    call = layer.call

    @functools.wraps(call)
    def recording(*arguments: Any, **options: Any) -> Any:
        result = call(*arguments, **options)
        for tensor in keras.tree.flatten(result):
            if hasattr(tensor, "numpy"):
                recorded.append((layer.name, np.asarray(tensor.numpy())))
        return result

    return recording


def _named(graph: Graph, outputs: list[tuple[str, NDArray[Any]]], values: Mapping[str, NDArray[Any]]) -> Graph:
    """The graph with operations named by layers; inner layers come first and win over the models around them."""
    whole: dict[str, str] = {}
    inside: dict[str, str] = {}
    scopes: dict[str, list[str]] = {}
    for layer, array in outputs:
        found = list(_holding(layer, array, graph, values))
        if not found:
            continue
        scope = _scope(layer, found[-1].name) or ""
        calls = scopes.setdefault(layer, [])
        if scope not in calls:
            calls.append(scope)
        name = layer if calls.index(scope) == 0 else f"{layer}#{calls.index(scope) + 1}"
        whole.setdefault(found[-1].name, name)
        for operation in graph.operations:
            if operation.name.startswith(scope):
                inside.setdefault(operation.name, f"{name}/{operation.name.removeprefix(scope)}")
    names = inside | whole
    return replace(
        graph,
        operations=tuple(replace(each, name=names.get(each.name, each.name)) for each in graph.operations),
    )


def _holding(layer: str, array: NDArray[Any], graph: Graph, values: Mapping[str, NDArray[Any]]) -> Iterator[Operation]:
    """The operations in a scope of the layer's name that give its output."""
    for operation in graph.operations:
        if _scope(layer, operation.name) is None:
            continue
        for name in operation.outputs:
            value = values.get(graph.readings.get(name, name))
            if value is not None and value.shape == array.shape and np.allclose(value, array, _TOLERANCE, _TOLERANCE):
                yield operation


def _scope(layer: str, operation: str) -> str | None:
    """The operation's name up to and with the layer's scope, or None when it is not in one."""
    found = re.search(rf"(?:^|.*/){re.escape(layer)}{_COUNTED}/", operation)
    return found.group() if found else None
