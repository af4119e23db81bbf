"""Loops written out compute what the loop computed; those that depend on data stay as they are."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeward_converters.exporters.onnx_loops import has_loops, unrolled


def _model(limit: int | None, stop_after: int | None, by_data: bool = False) -> onnx.ModelProto:
    """`total` adds x and the turn's number up, `each` keeps every sum; it ends at a limit, a count, or by the data."""
    scalar, row = TensorProto.INT64, TensorProto.FLOAT

    def tensor(name: str, kind: int, shape: list) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    body = helper.make_graph(
        [
            helper.make_node("Cast", ["turn"], ["number"], to=row),
            helper.make_node("Mul", ["x", "step"], ["scaled"]),
            helper.make_node("Add", ["sum_in", "scaled"], ["partly"]),
            helper.make_node("Add", ["partly", "number"], ["sum_out"]),
            helper.make_node("Add", ["count_in", "one"], ["count_out"]),
            helper.make_node("ReduceMax", ["sum_out"], ["largest"], keepdims=0),
            helper.make_node("Cast", ["largest"], ["rounded"], to=scalar),
            helper.make_node("Less", ["rounded" if by_data else "count_out", "end"], ["more"]),
            helper.make_node("Identity", ["sum_out"], ["kept"]),
        ],
        "body",
        [
            tensor("turn", scalar, []),
            tensor("go_on", TensorProto.BOOL, []),
            tensor("sum_in", row, ["N", 2]),
            tensor("count_in", scalar, []),
        ],
        [
            tensor("more", TensorProto.BOOL, []),
            tensor("sum_out", row, ["N", 2]),
            tensor("count_out", scalar, []),
            tensor("kept", row, ["N", 2]),
        ],
        [
            numpy_helper.from_array(np.array(0.5, np.float32), "step"),
            numpy_helper.from_array(np.array(1, np.int64), "one"),
            numpy_helper.from_array(np.array(10**9 if stop_after is None else stop_after, np.int64), "end"),
        ],
    )
    loop = helper.make_node(
        "Loop", ["" if limit is None else "limit", "true", "x", "zero"], ["total", "count", "each"], body=body
    )
    constants = [
        numpy_helper.from_array(np.array(limit or 0, np.int64), "limit"),
        numpy_helper.from_array(np.array(True), "true"),
        numpy_helper.from_array(np.array(0, np.int64), "zero"),
    ]
    outputs = [tensor("total", row, ["N", 2]), tensor("each", row, ["T", "N", 2])]
    graph = helper.make_graph([loop], "graph", [tensor("x", row, ["N", 2])], outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _run(path: Path, x: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options).run(None, {"x": x})


@given(limit=st.one_of(st.none(), st.integers(1, 12)), stop_after=st.integers(1, 12), seed=st.integers(0, 2**16))
def test_a_countable_loop_is_written_out(tmp_path: Path, limit: int | None, stop_after: int, seed: int) -> None:
    path = tmp_path / "loop.onnx"
    onnx.save(_model(limit, stop_after), str(path))
    written = unrolled(path, tmp_path)
    assert not has_loops(onnx.load(str(written)))
    x = np.random.default_rng(seed).normal(size=(3, 2)).astype(np.float32)
    for expected, found in zip(_run(path, x), _run(written, x), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_loop_that_ends_by_its_data_stays(tmp_path: Path) -> None:
    path = tmp_path / "loop.onnx"
    onnx.save(_model(20, 5, by_data=True), str(path))
    assert has_loops(onnx.load(str(unrolled(path, tmp_path))))


def test_a_loop_of_too_many_turns_stays(tmp_path: Path) -> None:
    path = tmp_path / "loop.onnx"
    onnx.save(_model(None, None), str(path))
    assert has_loops(onnx.load(str(unrolled(path, tmp_path))))
