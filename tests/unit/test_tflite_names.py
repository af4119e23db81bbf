"""Names given to a `.tflite` file's tensors: the interpreter finds them, and nothing else of the file changes."""

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given
from hypothesis import strategies as st

from edgeward_converters.exporters import tflite_file
from edgeward_converters.exporters.tflite_names import name_tensors
from edgeward_converters.exporters.tflite_writer import Writer
from edgeward_converters.sources import SIGNATURE
from edgeward_runtimes.errors import ConversionError

WEIGHTS = np.arange(6, dtype=np.float32).reshape(2, 3)
X, Y = np.array([[1, 2, 3]], np.float32), np.array([[10, 20, 30]], np.float32)


def _model(signature: tuple[list[tuple[str, int]], list[tuple[str, int]]] | None = None) -> Any:
    """Inputs `x` and `y` of shape (1, 3); outputs `sum` (1, 3) and `dense` (1, 2) of it. `signature` names places."""
    graph = schema.SubGraphT(tensors=[], operators=[])
    model = schema.ModelT(version=3, operatorCodes=[], subgraphs=[graph], buffers=[schema.BufferT()], signatureDefs=[])
    for name in ("x", "y"):
        graph.tensors.append(schema.TensorT(shape=np.array([1, 3], np.int32), buffer=0, name=name))
    writer = Writer(model, graph, "inner")
    total = writer.add(0, 1)
    dense = writer.dense(total, writer.constant(WEIGHTS))
    graph.operators = writer.operators
    graph.inputs, graph.outputs = np.array([0, 1], np.int32), np.array([total, dense], np.int32)
    graph.tensors[total].name, graph.tensors[dense].name = "sum", "dense"
    if signature is not None:
        places = {"x": 0, "y": 1, "sum": total, "dense": dense}
        maps = [[schema.TensorMapT(name, places[tensor]) for name, tensor in part] for part in signature]
        model.signatureDefs = [schema.SignatureDefT(*maps, signatureKey="other", subgraphIndex=0)]
    return model


def _run(content: bytes, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs by the names of the file's only signature."""
    interpreter = Interpreter(model_content=content)
    assert list(interpreter.get_signature_list()) == [SIGNATURE]
    return {name: array.copy() for name, array in interpreter.get_signature_runner(SIGNATURE)(**inputs).items()}


def _check(content: bytes, first: str, second: str, total: str, dense: str) -> None:
    outputs = _run(content, **{first: X, second: Y})
    np.testing.assert_array_equal(outputs[total], X + Y)
    np.testing.assert_array_equal(outputs[dense], (X + Y) @ WEIGHTS.T)
    interpreter = Interpreter(model_content=content)
    assert [each["name"] for each in interpreter.get_input_details()] == [first, second]
    assert [each["name"] for each in interpreter.get_output_details()] == [total, dense]


def test_a_file_without_a_signature_gets_one_by_the_order_of_its_graph() -> None:
    _check(
        name_tensors(tflite_file.write(_model()), ["left", "right"], ["total", "scores"]),
        "left",
        "right",
        "total",
        "scores",
    )


def test_names_are_given_by_those_in_the_signature_whatever_its_order() -> None:
    signature = ([("args_1", "y"), ("args_0", "x")], [("output_1", "dense"), ("output_0", "sum")])
    content = tflite_file.write(_model(signature))
    by_name = name_tensors(content, {"args_0": "left", "args_1": "right"}, {"output_1": "scores", "output_0": "total"})
    _check(by_name, "left", "right", "total", "scores")
    _check(name_tensors(content, ["left", "right"], ["total", "scores"]), "left", "right", "total", "scores")


def test_without_a_signature_names_are_given_by_those_in_the_graph() -> None:
    content = tflite_file.write(_model())
    _check(name_tensors(content, {"y": "right", "x": "left"}, {"dense": "d", "sum": "s"}), "left", "right", "s", "d")


def test_inputs_may_swap_their_names() -> None:
    _check(name_tensors(tflite_file.write(_model()), {"x": "y", "y": "x"}, ["sum", "dense"]), "y", "x", "sum", "dense")


def test_an_inner_tensor_that_has_a_public_name_steps_aside() -> None:
    model = _model()
    model.subgraphs[0].tensors[3].name = "scores"  # the weights
    content = name_tensors(tflite_file.write(model), ["x", "y"], ["sum", "scores"])
    _check(content, "x", "y", "sum", "scores")
    names = [tensor.name for tensor in tflite_file.read(content).subgraphs[0].tensors]
    assert sorted(names) == sorted({*names})


def test_a_tensor_may_be_an_input_and_an_output() -> None:
    model = _model()
    graph = model.subgraphs[0]
    graph.outputs = np.array([*graph.outputs, 0], np.int32)
    outputs = _run(name_tensors(tflite_file.write(model), ["a", "b"], ["s", "d", "same"]), a=X, b=Y)
    np.testing.assert_array_equal(outputs["same"], X)


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (["a"], ["s", "d"], r"has 2 inputs; expected 1: \['a'\]"),
        (["a", "b"], {"sum": "s"}, r"outputs are \['dense', 'sum'\]; expected \['sum'\]"),
        (["a", "a"], ["s", "d"], r"Each input .* needs a name of its own"),
    ],
)
def test_names_that_do_not_fit_are_refused(inputs: Any, outputs: Any, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        name_tensors(tflite_file.write(_model()), inputs, outputs)


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
        min_size=4,
        max_size=4,
        unique=True,
    )
)
def test_any_text_is_a_name(names: list[str]) -> None:
    content = name_tensors(tflite_file.write(_model()), names[:2], names[2:])
    (signature,) = tflite_file.read(content).signatureDefs
    assert [each.name.decode() for each in (*signature.inputs, *signature.outputs)] == names


def test_constants_stay_where_kernels_can_load_them() -> None:
    content = name_tensors(tflite_file.write(_model()), ["x", "y"], ["sum", "dense"])
    assert content.find(WEIGHTS.tobytes()) % 16 == 0


def test_weights_behind_the_flatbuffer_come_along() -> None:
    model = _model()
    buffer = model.buffers[model.subgraphs[0].tensors[3].buffer]
    weights, buffer.data = bytes(buffer.data), None
    buffer.offset, buffer.size = 16, len(weights)  # of the right width, for now
    buffer.offset = len(tflite_file.write(model))
    content = tflite_file.write(model) + weights
    expected = Interpreter(model_content=content)  # LiteRT reads it so as well
    expected.allocate_tensors()
    assert expected.get_tensor(3).tobytes() == weights
    _check(name_tensors(content, ["x", "y"], ["sum", "dense"]), "x", "y", "sum", "dense")


def test_what_is_no_tflite_file_is_refused() -> None:
    with pytest.raises(ConversionError, match=r"Expected a \.tflite file; this one begins with b'PK"):
        name_tensors(b"PK\x03\x04 and so on", ["x"], ["y"])
