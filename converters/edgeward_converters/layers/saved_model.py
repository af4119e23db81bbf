"""The layers of a TensorFlow SavedModel: the operations of its signature, functions inlined and variables frozen.

While loops and conditions stay one layer each.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeward_converters.layers.graph import Graph, Operation, as_floats, graph_of
from edgeward_converters.sources import Source

_CARRIERS = frozenset({"Identity", "StopGradient"})


def open_tracer(source: Source) -> "SavedModelTracer":
    """Open the source's canonical SavedModel."""
    return SavedModelTracer(source)


class SavedModelTracer:
    """The frozen signature, pruned to give all its inner tensors; see `graph.Tracer`."""

    def __init__(self, source: Source) -> None:
        self.batch = source.batch
        self._names = [tensor.name for tensor in source.inputs]
        frozen = _frozen(source)
        self.graph = _graph(frozen, source)
        wanted = [name for name in dict.fromkeys(self.graph.worth_reading()) if _is_numeric(frozen, name)]
        self._tensors = dict(enumerate(wanted))
        feeds = [self.graph.inputs[name] for name in self._names]
        self._run = frozen.prune(feeds, {str(place): name for place, name in self._tensors.items()})

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run one batch."""
        import tensorflow as tf

        results = self._run(*(tf.constant(inputs[name]) for name in self._names))
        values = {name: as_floats(_array(results[str(place)])) for place, name in self._tensors.items()}
        return values | {self.graph.inputs[name]: as_floats(inputs[name]) for name in self._names}


def _frozen(source: Source) -> Any:
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from edgeward_converters.exporters.signature import ordered

    function = ordered(source, source.batch)
    return convert_variables_to_constants_v2(function.get_concrete_function(), lower_control_flow=False)


def _graph(frozen: Any, source: Source) -> Graph:
    """The graph; a tensor is named as its operation, with its number where that has several."""
    operations = frozen.graph.get_operations()
    constants = {operation.outputs[0].name: _size(operation) for operation in operations if operation.type == "Const"}
    listed = [
        Operation(
            name=operation.name,
            operator=operation.type,
            inputs=tuple(tensor.name for tensor in operation.inputs),
            outputs=tuple(tensor.name for tensor in operation.outputs),
        )
        for operation in operations
        if operation.type not in ("Const", "Placeholder")
    ]
    inputs = {tensor.name: given.name for tensor, given in zip(source.inputs, frozen.inputs, strict=True)}
    outputs = {tensor.name: result.name for tensor, result in zip(source.outputs, frozen.outputs, strict=True)}
    return graph_of(listed, constants, inputs, outputs, _CARRIERS)


def _size(constant: Any) -> int:
    dtype = constant.outputs[0].dtype
    elements = constant.outputs[0].shape.num_elements() or 0
    return int(elements * dtype.size) if dtype.is_numpy_compatible and dtype.name != "string" else 0


def _is_numeric(frozen: Any, name: str) -> bool:
    dtype = frozen.graph.get_tensor_by_name(name).dtype
    return bool(dtype.is_floating or dtype.is_integer or dtype.is_bool)


def _array(tensor: Any) -> NDArray[Any]:
    array = np.asarray(tensor)
    return array if array.dtype.kind in "fiub" else array.astype(np.float32)  # bfloat16
