"""ONNX graphs made ready for onnx2tf: one sample, every node named, outputs in the layout that they have."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import helper, inliner, numpy_helper

from edgeward_runtimes.errors import ConversionError, one_line

_LEAST_RANK = 3  # of tensors that have a layout to change


def has_free_batch(model: Any) -> bool:
    """Whether any input's leading axis is free."""
    return any(dims and _is_free(dims[0]) for dims in map(_dims, model.graph.input))


def fix_batch(model: Any, path: Path) -> Any:
    """A copy for one sample: free leading axes, and those that go by their names, have size 1.

    Raises:
        ConversionError: When an input leaves another axis free. LiteRT's graphs have fixed shapes within.
    """
    fixed = inliner.inline_local_functions(model) if model.functions else deepcopy(model)
    batches = {dims[0].dim_param for dims in map(_dims, fixed.graph.input) if dims and _is_free(dims[0])}
    for value in fixed.graph.input:
        for axis, dim in enumerate(_dims(value)):
            if not _is_free(dim):
                continue
            if axis > 0 and (dim.dim_param in ("", "?") or dim.dim_param not in batches):
                raise ConversionError(_free_axis(value.name, axis, dim.dim_param, path))
            dim.dim_value = 1
    for value in fixed.graph.output:
        for dim in _dims(value):
            dim.Clear()
    del fixed.graph.value_info[:]  # they tell of the free batch
    return fixed


def fold(path: Path) -> None:
    """Fold a file's constants by onnxruntime, in place. Raises ConversionError."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC  # more is not ONNX
    options.optimized_model_filepath = str(path)
    try:
        onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own, of no common class
        raise ConversionError(f"onnxruntime cannot fold its constants: {one_line(error)}") from error


def keep_outputs(model: Any, shapes: dict[str, tuple[int, ...]]) -> None:
    """Write down the outputs' shapes, and name every node, in place. Every output keeps its layout.

    onnx2tf takes away a transpose from channels-last at the end of a graph, but none within. So an output ends in a
    reshape to the shape that it has, which onnx2tf drops later on.

    Args:
        model: A model for one sample.
        shapes: Each output's shape for one sample.
    """
    read = {name for node in model.graph.node for name in node.input}
    for value in model.graph.output:
        shape = shapes[value.name]
        value.CopyFrom(helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, shape))
        if len(shape) >= _LEAST_RANK and value.name not in read:
            _end_in_reshape(model.graph, value.name, shape)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"


def _end_in_reshape(graph: Any, name: str, shape: tuple[int, ...]) -> None:
    inner = f"{name}_before_reshape"
    for node in graph.node:
        node.output[:] = [inner if output == name else output for output in node.output]
    graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), f"{name}_shape"))
    graph.node.append(helper.make_node("Reshape", [inner, f"{name}_shape"], [name]))


def _dims(value: Any) -> Any:
    return value.type.tensor_type.shape.dim


def _is_free(dim: Any) -> bool:
    return bool(dim.dim_value <= 0)  # not given, or 0 or -1, as some exporters write it


def _free_axis(name: str, axis: int, symbol: str, path: Path) -> str:
    how = f" --dim_param {symbol} --dim_value SIZE" if symbol else f" --input_name {name} --input_shape 1,..."
    return (
        f"The input {name!r} of {path.name} leaves its axis {axis} free; LiteRT needs every size but the batch. Fix it "
        f"with `python -m onnxruntime.tools.make_dynamic_shape_fixed{how} {path.name} fixed.onnx`."
    )
