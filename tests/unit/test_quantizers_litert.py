"""Embeddings in `.tflite` files: written as lookups, they give the same rows, and can be quantized."""

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeward_converters import quantizers
from edgeward_converters.exporters import tflite_file
from edgeward_converters.quantizers.ladder import Rung
from edgeward_converters.quantizers.litert_lookups import use_lookups
from edgeward_runtimes.errors import ConversionError

INT32, INT64, FLOAT32 = schema.TensorType.INT32, schema.TensorType.INT64, schema.TensorType.FLOAT32
DTYPES = {INT32: np.int32, INT64: np.int64}


def _gather(table: np.ndarray, shape: tuple[int, ...], dtype: int, axis: int = 0) -> bytes:
    """A model of one GATHER: indexes of a shape (-1 where open) to slices of a table along an axis."""
    model = schema.ModelT()
    model.version = 3
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.GATHER
    model.operatorCodes = [code]
    constant = schema.BufferT()
    constant.data = np.frombuffer(table.astype(np.float32).tobytes(), np.uint8)
    model.buffers = [schema.BufferT(), constant]
    picked = (*table.shape[:axis], *shape, *table.shape[axis + 1 :])
    graph = schema.SubGraphT()
    graph.tensors = [
        _tensor(b"table", table.shape, FLOAT32, buffer=1),
        _tensor(b"indexes", shape, dtype),
        _tensor(b"rows", picked, FLOAT32),
    ]
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0, 1], [2]
    operator.builtinOptionsType = schema.BuiltinOptions.GatherOptions
    operator.builtinOptions = schema.GatherOptionsT()
    operator.builtinOptions.axis = axis
    graph.operators, graph.inputs, graph.outputs = [operator], [1], [2]
    model.subgraphs = [graph]
    return tflite_file.write(model)


def _tensor(name: bytes, shape: tuple[int, ...], dtype: int, buffer: int = 0) -> schema.TensorT:
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.buffer = name, dtype, buffer
    tensor.shape = [max(size, 1) for size in shape]
    tensor.shapeSignature = list(shape) if -1 in shape else None
    return tensor


def _operators(content: bytes) -> list[int]:
    model = tflite_file.read(content)
    return [tflite_file.builtin_code(model, operator) for operator in model.subgraphs[0].operators]


def _run(content: bytes, indexes: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(model_content=content)
    (given_input,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(given_input["index"], indexes.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given_input["index"], indexes)
    interpreter.invoke()
    return interpreter.get_tensor(output["index"])


@settings(max_examples=40)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.sampled_from([INT32, INT64]), st.booleans())
def test_a_lookup_gives_the_rows_that_the_gather_gave(sizes: list[int], dtype: int, is_open: bool) -> None:
    table = np.arange(60, dtype=np.float32).reshape(12, 5)
    gather = _gather(table, (-1, *sizes[1:]) if is_open else tuple(sizes), dtype)
    lookup = use_lookups(gather)
    assert schema.BuiltinOperator.GATHER not in _operators(lookup)
    assert schema.BuiltinOperator.EMBEDDING_LOOKUP in _operators(lookup)
    indexes = np.random.default_rng(0).integers(0, 12, sizes).astype(DTYPES[dtype])
    np.testing.assert_array_equal(_run(lookup, indexes), table[indexes])


@pytest.mark.parametrize(
    ("shape", "axis", "table"),
    [((3,), 1, (12, 5)), ((-1, -1), 0, (12, 5)), ((3,), 0, (4, 3, 5))],
    ids=["columns", "two open axes", "slices of a cube"],
)
def test_what_is_no_lookup_stays_as_it_is(shape: tuple[int, ...], axis: int, table: tuple[int, ...]) -> None:
    content = _gather(np.zeros(table), shape, INT32, axis)
    assert use_lookups(content) is content


def test_rows_of_an_odd_length_are_left_to_8_bits_as_litert_misreads_them_in_4(tmp_path: Path) -> None:
    path = tmp_path / "float.tflite"
    path.write_bytes(_gather(np.random.default_rng(0).normal(size=(500, 63)), (-1, 7), INT64))
    with pytest.raises(ConversionError, match="none of its weights can be in int4 here"):
        quantizers.quantize("litert", Rung("int4"), path, tmp_path / "small.tflite", None)


@pytest.mark.parametrize(("way", "most"), [("dynamic", 0.5), ("weights", 0.5), (None, 0.4)])
def test_a_table_is_quantized_row_by_row(tmp_path: Path, way: str | None, most: float) -> None:
    random = np.random.default_rng(0)
    table = random.normal(size=(500, 64)) * np.logspace(-3, 3, 500)[:, None]
    path = tmp_path / "float.tflite"
    path.write_bytes(_gather(table, (-1, 7), INT64))
    rung = Rung("int8", way) if way else Rung("int4")
    (written,), _ = quantizers.quantize("litert", rung, path, tmp_path / "small.tflite", None)
    assert written.stat().st_size < most * path.stat().st_size
    indexes = random.integers(0, 500, (2, 7))
    found = _run(written.read_bytes(), indexes)
    size = np.abs(table[indexes]).max(axis=-1, keepdims=True)
    assert (np.abs(found - table[indexes]) / size).max() < (0.01 if way else 0.2), "small rows keep their precision"
