"""ONNX to LiteRT: what comes out gives what onnxruntime gives, under the same names, in the same layouts.

The models are small graphs that have, among them, what real ones have: layouts, recurrence, attention, several inputs.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgeward_converters.exporters import onnx2tf, onnx2tf_environment, onnx_graph, tflite_file
from edgeward_runtimes.errors import ConversionError
from edgeward_runtimes.manifest import Tensor
from edgeward_runtimes.model import Model

Arrays = dict[str, NDArray[Any]]
N = helper.make_node
RANDOM = np.random.default_rng(7)


@pytest.fixture(scope="module", autouse=True)
def _environment() -> None:
    """onnx2tf's environment, made once for this user; without a Python for it there is nothing to test."""
    try:
        onnx2tf_environment.python()
    except ConversionError as error:
        if "there is none on PATH" in str(error):
            pytest.skip(str(error))
        raise


def _weights(*shape: int) -> NDArray[np.float32]:
    return (RANDOM.normal(size=shape) / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float32)


def _tensor(name: str, *shape: int, dtype: str = "float32") -> Tensor:
    return Tensor(name=name, shape=(None, *shape), dtype=dtype)


class Onnx:
    """An ONNX file with a free batch, and its tensors."""

    def __init__(
        self, path: Path, nodes: list[Any], inputs: Sequence[Tensor], outputs: Sequence[Tensor], constants: Arrays
    ) -> None:
        self.path, self.inputs, self.outputs = path, tuple(inputs), tuple(outputs)
        values = [[self._value(tensor) for tensor in tensors] for tensors in (inputs, outputs)]
        arrays = [numpy_helper.from_array(array, name) for name, array in constants.items()]
        graph = helper.make_graph(nodes, "test", *values, arrays)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        onnx.save(model, path)

    def to_litert(self) -> Path:
        (artifact,) = onnx2tf.export(self.path, self.path.with_suffix(".tflite"), self.inputs, self.outputs)
        return artifact

    def check(self, artifact: Path, *batches: Arrays) -> None:
        """Compare with onnxruntime, one batch after another in one session."""
        session = onnxruntime.InferenceSession(str(self.path))
        names = [tensor.name for tensor in self.outputs]
        with Model.of(artifact, "litert", self.inputs, self.outputs) as model:
            assert {tensor.name for tensor in model.inputs} == {tensor.name for tensor in self.inputs}
            for batch in batches:
                predicted = model.predict(batch)
                answers = predicted if isinstance(predicted, dict) else {names[0]: predicted}
                for name, expected in zip(names, session.run(names, batch), strict=True):
                    tolerance = 1e-4 * np.abs(expected).max() if expected.dtype.kind == "f" else 0
                    np.testing.assert_allclose(answers[name], expected, rtol=0, atol=tolerance, err_msg=name)

    @staticmethod
    def _value(tensor: Tensor) -> Any:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
        return helper.make_tensor_value_info(tensor.name, kind, ["batch", *tensor.shape[1:]])


def _operators(artifact: Path) -> Counter[str]:
    model = tflite_file.read(artifact.read_bytes())
    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    return Counter(names[tflite_file.builtin_code(model, operator)] for operator in model.subgraphs[0].operators)


def _is_batch_free(artifact: Path) -> bool:
    graph = tflite_file.read(artifact.read_bytes()).subgraphs[0]
    return all(graph.tensors[index].shapeSignature[0] == -1 for index in (*graph.inputs, *graph.outputs))


def test_a_picture_network_keeps_its_layouts_and_takes_any_batch(tmp_path: Path) -> None:
    """Channels first outside; and as many channels as rows and columns, so that no shape tells them apart."""
    model = Onnx(
        tmp_path / "picture.onnx",
        [
            N("Conv", ["picture", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
            N("Relu", ["c1"], ["r1"]),
            N("MaxPool", ["r1"], ["p1"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
            N("Conv", ["p1", "w2"], ["c2"], pads=[1, 1, 1, 1], group=4),
            N("Add", ["c2", "p1"], ["a2"]),
            N("Sigmoid", ["a2"], ["map"]),
            N("GlobalAveragePool", ["a2"], ["g"]),
            N("Flatten", ["g"], ["f"]),
            N("Gemm", ["f", "w3", "b3"], ["scores"], transB=1),
        ],
        [_tensor("picture", 3, 8, 8)],
        [_tensor("scores", 5), _tensor("map", 4, 4, 4)],
        {
            "w1": _weights(4, 3, 3, 3),
            "b1": _weights(4),
            "w2": _weights(4, 1, 3, 3),
            "w3": _weights(5, 4),
            "b3": _weights(5),
        },
    )
    artifact = model.to_litert()
    model.check(artifact, *({"picture": _weights(batch, 3, 8, 8)} for batch in (1, 5, 2)))
    assert _is_batch_free(artifact)
    assert not _operators(artifact)["PADV2"]  # with the lowest float, beside which nothing fits into 8 bits


def test_recurrent_layers_of_every_kind_forget_between_predictions(tmp_path: Path) -> None:
    steps, width, size = 6, 3, 4
    nodes, outputs, constants = [N("Transpose", ["x"], ["steps"], perm=[1, 0, 2])], [], {}
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        ("LSTM", "forward", {}),
        ("LSTM", "bidirectional", {}),
        ("GRU", "forward", {"linear_before_reset": 1}),
        ("GRU", "reverse", {"linear_before_reset": 0}),
        ("GRU", "bidirectional", {"linear_before_reset": 1}),
        ("RNN", "bidirectional", {"activations": ["Relu", "Relu"]}),
    ]
    for number, (kind, direction, options) in enumerate(kinds):
        directions, rows = 2 if direction == "bidirectional" else 1, gates[kind] * size
        constants |= {
            f"w{number}": _weights(directions, rows, width),
            f"r{number}": _weights(directions, rows, size) * 2,
            f"b{number}": _weights(directions, 2 * rows),
        }
        given = ["steps", *(f"{letter}{number}" for letter in "wrb")]
        results = [f"y{number}", f"h{number}"]
        nodes += [
            N(kind, given, results, hidden_size=size, direction=direction, **options),
            N("Transpose", [f"y{number}"], [f"all{number}"], perm=[2, 0, 1, 3]),
            N("Transpose", [f"h{number}"], [f"last{number}"], perm=[1, 0, 2]),
        ]
        outputs += [_tensor(f"all{number}", steps, directions, size), _tensor(f"last{number}", directions, size)]
    model = Onnx(tmp_path / "recurrent.onnx", nodes, [_tensor("x", steps, width)], outputs, constants)
    artifact = model.to_litert()
    x = _weights(3, steps, width) * 3
    model.check(artifact, {"x": x}, {"x": x}, {"x": x[:1]})
    assert not [name for name in _operators(artifact) if name.endswith(("SEQUENCE_LSTM", "SEQUENCE_RNN", "WHILE"))]


def test_states_go_in_and_out_by_name(tmp_path: Path) -> None:
    size = 4
    model = Onnx(
        tmp_path / "step.onnx",
        [
            N("Gather", ["table", "token"], ["row"]),
            N("Transpose", ["row"], ["steps"], perm=[1, 0, 2]),
            *(N("Transpose", [name], [f"{name}0"], perm=[1, 0, 2]) for name in ("h", "c")),
            N("LSTM", ["steps", "w", "r", "b", "", "h0", "c0"], ["y", "h1", "c1"], hidden_size=size),
            *(N("Transpose", [f"{name}1"], [f"next_{name}"], perm=[1, 0, 2]) for name in ("h", "c")),
            N("MatMul", ["next_h", "out"], ["logits"]),
        ],
        [_tensor("token", 1, dtype="int64"), _tensor("h", 1, size), _tensor("c", 1, size)],
        [_tensor("logits", 1, 7), _tensor("next_c", 1, size), _tensor("next_h", 1, size)],
        {
            "table": _weights(9, 3),
            "w": _weights(1, 4 * size, 3),
            "r": _weights(1, 4 * size, size),
            "b": _weights(1, 8 * size),
            "out": _weights(size, 7),
        },
    )
    token = RANDOM.integers(0, 9, (4, 1))
    model.check(model.to_litert(), {"token": token, "h": _weights(4, 1, size), "c": _weights(4, 1, size)})


def test_attention_over_tokens_with_a_mask_is_of_dense_layers(tmp_path: Path) -> None:
    """Two inputs of other dtypes than float32, two outputs, one of integers; products that quantizers know."""
    names = ["q", "k", "v"]
    model = Onnx(
        tmp_path / "attention.onnx",
        [
            N("Gather", ["table", "tokens"], ["x"]),
            *(N("MatMul", ["x", f"w{name}"], [name]) for name in names),
            N("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
            N("MatMul", ["q", "kt"], ["products"]),
            N("Unsqueeze", ["padding", "one"], ["mask"]),
            N("Where", ["mask", "low", "products"], ["masked"]),
            N("Softmax", ["masked"], ["weights"]),
            N("MatMul", ["weights", "v"], ["read"]),
            N("MatMul", ["read", "wo"], ["projected"]),
            N("Add", ["projected", "bo"], ["biased"]),
            N("ReduceMean", ["biased"], ["scores"], axes=[1], keepdims=0),
            N("ArgMax", ["scores"], ["best"], axis=1, keepdims=0),
        ],
        [_tensor("tokens", 5, dtype="int64"), _tensor("padding", 5, dtype="bool")],
        [_tensor("best", dtype="int64"), _tensor("scores", 3)],
        {
            "table": _weights(20, 8),
            **{f"w{name}": _weights(8, 8) for name in names},
            "wo": _weights(8, 3),
            "bo": _weights(3),
            "low": np.array(-1e4, np.float32),
            "one": np.array([1]),
        },
    )
    artifact = model.to_litert()
    tokens, padding = RANDOM.integers(0, 20, (4, 5)), np.arange(5) >= np.array([[5], [3], [1], [4]])
    model.check(artifact, {"tokens": tokens, "padding": padding}, {"tokens": tokens[:1], "padding": padding[:1]})
    operators = _operators(artifact)
    assert operators["FULLY_CONNECTED"]
    assert operators["BATCH_MATMUL"] == 2  # of two tensors that are no constants


def test_an_axis_that_is_free_besides_the_batch_is_refused_with_the_command_that_fixes_it(tmp_path: Path) -> None:
    model = Onnx(tmp_path / "free.onnx", [N("Relu", ["x"], ["y"])], [_tensor("x", 3)], [_tensor("y", 3)], {})
    graph = onnx.load(model.path)
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[1].dim_param = "length"
    onnx.save(graph, model.path)
    with pytest.raises(ConversionError, match=r"'x' of free\.onnx leaves its axis 1 free; .*--dim_param length"):
        model.to_litert()
    assert not model.path.with_suffix(".tflite").exists()


def test_what_litert_has_no_operator_for_is_named(tmp_path: Path) -> None:
    model = Onnx(
        tmp_path / "unknown.onnx",
        [N("Unique", ["x"], ["values"], axis=0), N("MatMul", ["x", "w"], ["y"])],
        [_tensor("x", 3)],
        [_tensor("y", 2), _tensor("values", 3)],
        {"w": _weights(3, 2)},
    )
    with pytest.raises(ConversionError, match=r"cannot convert unknown\.onnx to LiteRT: .*UNIQUE"):
        model.to_litert()
    assert not model.path.with_suffix(".tflite").exists()


def test_branches_that_shapes_decide_are_folded(tmp_path: Path) -> None:
    """The second way to fold, for graphs that onnxsim makes nonsense of."""
    branches = {
        f"{name}_branch": helper.make_graph(
            [N(kind, ["x"], [name])], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3])]
        )
        for name, kind in (("then", "Relu"), ("else", "Neg"))
    }
    nodes = [
        N("Shape", ["x"], ["shape"]),
        N("Gather", ["shape", "one"], ["width"]),
        N("Equal", ["width", "three"], ["is_three"]),
        N("If", ["is_three"], ["y"], **branches),
    ]
    constants = {"one": np.array(1), "three": np.array(3)}
    model = Onnx(tmp_path / "branches.onnx", nodes, [_tensor("x", 3)], [_tensor("y", 3)], constants)
    onnx.save(onnx_graph.fix_batch(onnx.load(model.path), model.path), model.path)
    onnx_graph.fold(model.path)
    assert [node.op_type for node in onnx.load(model.path).graph.node] == ["Relu"]


def test_a_python_that_is_none_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(onnx2tf_environment.VARIABLE, "/bin/false")
    with pytest.raises(ConversionError, match=r"EDGEWARD_ONNX2TF_PYTHON names /bin/false, which is no Python of 3\.12"):
        onnx2tf_environment.python()


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="this Python itself can run onnx2tf")
def test_without_a_python_for_it_the_message_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PATH", "HOME", "XDG_CACHE_HOME", "PYENV_ROOT"):
        monkeypatch.setenv(name, str(tmp_path))
    with pytest.raises(ConversionError, match=r"there is none on PATH, .*apt-get install python3\.12-venv"):
        onnx2tf_environment.python()


def test_an_environment_that_was_never_finished_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here one whose making was cut short lies there, and pip cannot make another."""
    version = onnx2tf_environment.python().parent.parent.name
    unfinished = tmp_path / "edgeward" / version / "bin" / "python"
    unfinished.parent.mkdir(parents=True)
    unfinished.symlink_to(sys.executable)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(ConversionError, match=r"pip cannot install onnx2tf .*pip download --no-deps onnx2tf=="):
        onnx2tf_environment.python()
