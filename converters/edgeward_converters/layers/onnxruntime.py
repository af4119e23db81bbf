"""The layers of an `.onnx` file: every node's outputs made outputs of the graph, and no optimization.

Nodes in the bodies of If, Loop and Scan are not shown: the Loop is one layer.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeward_converters.layers.graph import Graph, Operation, as_floats, graph_of

_CARRIERS = frozenset({"QuantizeLinear", "DequantizeLinear"})
_ERRORS_ONLY = 3


class OnnxRuntimeTracer:
    """An inference session on a graph that hides nothing; see `graph.Tracer`."""

    def __init__(self, artifact: Path) -> None:
        import onnx
        import onnxruntime

        model = onnx.load(str(artifact))
        self.graph = _graph(model)
        self.batch = _fixed_batch(model, self.graph)
        self._wanted = list(dict.fromkeys(self.graph.worth_reading()))
        _show(model, self._wanted)
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = _ERRORS_ONLY
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
        )

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run one batch."""
        given = {name: np.ascontiguousarray(inputs[name]) for name in self.graph.inputs}
        found = zip(self._wanted, self._session.run(self._wanted, given), strict=True)
        values = {name: as_floats(value) for name, value in found if isinstance(value, np.ndarray)}
        return values | {name: as_floats(array) for name, array in given.items()}


def read(artifact: Path) -> Graph:
    """The graph alone, without running it."""
    import onnx

    return _graph(onnx.load(str(artifact)))


def _graph(model: Any) -> Graph:
    constants = {tensor.name: _stored_bytes(tensor) for tensor in model.graph.initializer}
    constants |= {tensor.values.name: _stored_bytes(tensor.values) for tensor in model.graph.sparse_initializer}
    operations = []
    for place, node in enumerate(model.graph.node):
        given = tuple(name for name in node.output if name)
        operation = Operation(
            name=node.name or (given[0] if given else f"node {place}"),
            operator=node.op_type,
            inputs=tuple(name for name in (*node.input, *_captured(node)) if name),
            outputs=given,
            weights_bytes=sum(_stored_bytes(each.t) for each in node.attribute if each.HasField("t")),
        )
        operations.append(operation)
    inputs = {value.name: value.name for value in model.graph.input if value.name not in constants}
    outputs = {value.name: value.name for value in model.graph.output}
    return graph_of(operations, constants, inputs, outputs, _CARRIERS)


def _captured(node: Any) -> list[str]:
    """What the bodies of a control-flow node take from outside."""
    outside: list[str] = []
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            made = {value.name for value in (*body.input, *body.initializer)}
            for inner in body.node:
                outside += [name for name in (*inner.input, *_captured(inner)) if name and name not in made]
                made.update(inner.output)
    return outside


def _stored_bytes(tensor: Any) -> int:
    """Bytes of a tensor as its type stores them; four-bit types take half a byte an element."""
    from onnx import TensorProto, helper

    if tensor.raw_data:
        return len(tensor.raw_data)
    elements = int(np.prod(tensor.dims, dtype=np.int64))
    if tensor.data_type in (TensorProto.INT4, TensorProto.UINT4):
        return (elements + 1) // 2
    if tensor.data_type in (TensorProto.UNDEFINED, TensorProto.STRING):
        return sum(map(len, tensor.string_data))
    return elements * int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _fixed_batch(model: Any, graph: Graph) -> int | None:
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name in graph.inputs and len(dims) and dims[0].HasField("dim_value"):
            return int(dims[0].dim_value)
    return None


def _show(model: Any, tensors: list[str]) -> None:
    """Make inner tensors outputs of the graph; onnxruntime finds their types itself."""
    import onnx

    shown = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in shown)
