"""The batch of a `.tflite` file that was converted for one sample: said to be fixed, or made free.

A graph made for a fixed batch is smaller and faster than one made for any: padding and shapes are constants. Most of
those run any batch all the same, once no reshape or slice insists on a leading 1. Whether one does is for the caller to
try.
"""

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeward_converters.exporters import tflite_file

# Which input of an operator has the sizes that it gives; -1 is what is left.
_SIZES = {schema.BuiltinOperator.RESHAPE: 1, schema.BuiltinOperator.SLICE: 2}


def fixed(content: bytes) -> bytes:
    """The model with the shapes that its tensors have and no other: converters leave some marked as free."""
    model = tflite_file.read(content)
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.shapeSignature = None
    return tflite_file.write(model)


def freed(content: bytes) -> bytes:
    """The model of one sample, saying that its leading axes are free; it may fail for other sizes, or give nonsense."""
    model = tflite_file.read(content)
    graph = model.subgraphs[0]
    for operator in graph.operators:
        place = _SIZES.get(tflite_file.builtin_code(model, operator))
        if place is not None and len(operator.inputs) > place and _is_of_one_sample(graph, operator):
            _free_sizes(graph, operator, model.buffers[graph.tensors[operator.inputs[place]].buffer])
    for index in (*graph.inputs, *(index for operator in graph.operators for index in operator.outputs)):
        tensor = graph.tensors[index]
        if _is_single(tensor):
            tensor.shapeSignature = np.array([-1, *tensor.shape[1:]], np.int32)
    return tflite_file.write(model)


def _is_of_one_sample(graph: Any, operator: Any) -> bool:
    return all(_is_single(graph.tensors[index]) for index in (operator.inputs[0], operator.outputs[0]))


def _is_single(tensor: Any) -> bool:
    return tensor.shape is not None and len(tensor.shape) > 0 and bool(tensor.shape[0] == 1)


def _free_sizes(graph: Any, operator: Any, buffer: Any) -> None:
    """Where an operator makes one sample of one sample: of all there are, then."""
    if buffer.data is None:
        return
    if isinstance(operator.builtinOptions, schema.ReshapeOptionsT):  # which has the sizes twice
        made = graph.tensors[operator.outputs[0]].shape
        sizes = operator.builtinOptions.newShape = np.array([-1, *made[1:]], np.int32)
    else:
        sizes = np.array([-1, *np.frombuffer(buffer.data.tobytes(), np.int32)[1:]], np.int32)
    buffer.data = np.frombuffer(sizes.tobytes(), np.uint8)
