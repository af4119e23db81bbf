"""Embeddings in a `.tflite` file as ai-edge-quantizer can quantize them.

Converters write a table's rows being picked as GATHER, whose table the quantizer leaves in float32 (97 % of a small
text classifier). EMBEDDING_LOOKUP does the same for a flat list of indexes and takes int4 and int8 tables with a scale
per row, and half floats. So

    GATHER(table, indexes, axis 0)  →  RESHAPE(EMBEDDING_LOOKUP(RESHAPE(indexes), table))

with a CAST in between where indexes are int64.
"""

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeward_converters.exporters import tflite_file

_GATHER = schema.BuiltinOperator.GATHER
_RESHAPE = schema.BuiltinOperator.RESHAPE
_LOOKUP = schema.BuiltinOperator.EMBEDDING_LOOKUP


def use_lookups(content: bytes) -> bytes:
    """The model with every GATHER of rows of a constant float table as a lookup; the same bytes where there is none.

    Args:
        content: A `.tflite` file's bytes.
    """
    model = tflite_file.read(content)
    replaced = [_replace(model, graph) for graph in model.subgraphs]
    if not any(replaced):
        return content
    return tflite_file.write(model)


def row_lengths(content: bytes) -> set[int]:
    """How long the rows of its lookups' tables are."""
    model = tflite_file.read(content)
    return {
        int(graph.tensors[operator.inputs[1]].shape[-1])
        for graph in model.subgraphs
        for operator in graph.operators
        if tflite_file.builtin_code(model, operator) == _LOOKUP
    }


def _replace(model: Any, graph: Any) -> bool:
    operators: list[Any] = []
    for operator in graph.operators:
        picks_rows = tflite_file.builtin_code(model, operator) == _GATHER and _is_lookup(model, graph, operator)
        operators += _lookup(model, graph, operator) if picks_rows else [operator]
    is_changed = len(operators) > len(graph.operators)
    graph.operators = operators
    return is_changed


def _is_lookup(model: Any, graph: Any, gather: Any) -> bool:
    table, indexes, result = (graph.tensors[place] for place in (*gather.inputs, *gather.outputs))
    options = gather.builtinOptions
    return (
        tflite_file.stored_bytes(model, table) > 0
        and table.type == schema.TensorType.FLOAT32
        and len(table.shape) == 2
        and indexes.type in (schema.TensorType.INT32, schema.TensorType.INT64)
        and (options is None or (options.axis in (0, -2) and options.batchDims == 0))
        and _free(result) <= 1
    )


def _lookup(model: Any, graph: Any, gather: Any) -> list[Any]:
    """The operators that do the same."""
    table, indexes = (int(place) for place in gather.inputs)
    result = graph.tensors[gather.outputs[0]]
    shape = _signature(result)
    count = -1 if _free(result) else int(np.prod(shape[:-1]))
    flat = _tensor(graph, result.name + b"/indexes", [count], schema.TensorType.INT32)
    rows = _tensor(graph, result.name + b"/rows", [count, int(shape[-1])], schema.TensorType.FLOAT32)
    lookup = schema.OperatorT()
    lookup.opcodeIndex = _opcode(model, _LOOKUP)
    lookup.inputs, lookup.outputs = [flat, table], [rows]
    cast = []
    if graph.tensors[indexes].type == schema.TensorType.INT64:
        narrow = _tensor(graph, result.name + b"/int32", _signature(graph.tensors[indexes]), schema.TensorType.INT32)
        cast = [_cast(model, indexes, narrow)]
        indexes = narrow
    return [
        *cast,
        _reshape(model, graph, indexes, flat, [-1]),
        lookup,
        _reshape(model, graph, rows, int(gather.outputs[0]), shape),
    ]


def _cast(model: Any, source: int, result: int) -> Any:
    """A CAST of int64 to int32, which any table's indexes fit."""
    operator = schema.OperatorT()
    operator.opcodeIndex = _opcode(model, schema.BuiltinOperator.CAST)
    operator.inputs, operator.outputs = [source], [result]
    operator.builtinOptionsType = schema.BuiltinOptions.CastOptions
    operator.builtinOptions = schema.CastOptionsT()
    operator.builtinOptions.inDataType = schema.TensorType.INT64
    operator.builtinOptions.outDataType = schema.TensorType.INT32
    return operator


def _reshape(model: Any, graph: Any, source: int, result: int, shape: list[int]) -> Any:
    """A RESHAPE to a constant shape, one axis of which may be open (-1)."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.array(shape, np.int32).tobytes(), np.uint8)
    model.buffers.append(buffer)
    wanted = _tensor(graph, graph.tensors[result].name + b"/shape", [len(shape)], schema.TensorType.INT32)
    graph.tensors[wanted].buffer = len(model.buffers) - 1
    operator = schema.OperatorT()
    operator.opcodeIndex = _opcode(model, _RESHAPE)
    operator.inputs, operator.outputs = [source, wanted], [result]
    operator.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
    operator.builtinOptions = schema.ReshapeOptionsT()
    operator.builtinOptions.newShape = shape
    return operator


def _tensor(graph: Any, name: bytes, shape: list[int], dtype: int) -> int:
    """A new tensor's place; open axes of its shape are -1."""
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.buffer = name, dtype, 0
    tensor.shape = [max(size, 1) for size in shape]
    tensor.shapeSignature = shape if -1 in shape else None
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _opcode(model: Any, builtin: int) -> int:
    """The place of an operator's code in the model, added where it is missing."""
    for place, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin:
            return place
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _signature(tensor: Any) -> list[int]:
    shape = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    return [int(size) for size in shape]


def _free(tensor: Any) -> int:
    return _signature(tensor).count(-1)
