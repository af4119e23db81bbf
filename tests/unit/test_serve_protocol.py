"""What `edgeward serve` reads and writes: any tensor comes through unchanged, and no body breaks the server.

The other side of protocol v2 is tritonclient itself, which writes the requests and reads the answers here.
"""

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from numpy.typing import NDArray

from edgeward.serve import protocol_v2, tensorflow_serving
from edgeward.serve.app import Limits, make_app
from edgeward.serve.json_tensors import parse, render, to_array
from edgeward.serve.protocol_v2 import DATATYPES, HEADER_LENGTH
from edgeward.serve.served import Served
from edgeward_runtimes.errors import InputError
from edgeward_runtimes.manifest import Tensor

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it would rather have another httpx
    from starlette.testclient import TestClient

Make = Callable[..., Path]
ARRAYS = st.sampled_from(sorted(DATATYPES)).flatmap(
    lambda dtype: arrays_of.arrays(dtype, arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)
TENSORS = st.dictionaries(st.text(min_size=1, max_size=8), ARRAYS, min_size=1, max_size=3)
X = np.array([[1.0, -2.0], [0.5, 3.0]], np.float32)


def _tensors(arrays: dict[str, NDArray]) -> tuple[Tensor, ...]:
    return tuple(Tensor(name=name, shape=array.shape, dtype=array.dtype.name) for name, array in arrays.items())


def _triton_request(arrays: dict[str, NDArray], binary: set[str], wanted: dict[str, bool]) -> tuple[bytes, str | None]:
    inputs = []
    for name, array in arrays.items():
        inputs.append(triton.InferInput(name, list(array.shape), DATATYPES[array.dtype.name]))
        inputs[-1].set_data_from_numpy(array, binary_data=name in binary)
    outputs = [triton.InferRequestedOutput(name, binary_data=is_binary) for name, is_binary in wanted.items()]
    body, length = triton.InferenceServerClient.generate_request_body(inputs, outputs, "request 1")
    return body, None if length is None else str(length)


def _assert_same(came: dict[str, NDArray], sent: dict[str, NDArray]) -> None:
    assert list(came) == list(sent)
    for name, array in sent.items():
        assert came[name].dtype == array.dtype
        assert came[name].flags.aligned
        np.testing.assert_array_equal(came[name], array, strict=True)


@given(TENSORS, st.data())
def test_any_tensors_come_through_v2_and_back(tensors: dict[str, NDArray], data: st.DataObject) -> None:
    binary = data.draw(st.sets(st.sampled_from(sorted(tensors))))
    wanted = data.draw(st.dictionaries(st.sampled_from(sorted(tensors)), st.booleans()))
    described = _tensors(tensors)
    body, length = _triton_request(tensors, binary, wanted)
    request = protocol_v2.decode(body, length, described, described)
    _assert_same(request.inputs, tensors)
    content, json_length = protocol_v2.encode(request, "m", "1.0.0", tensors)
    answer = triton.InferResult.from_response_body(content, header_length=json_length)
    assert [each["name"] for each in answer.get_response()["outputs"]] == list(wanted or tensors)
    assert answer.get_response()["id"] == "request 1"
    assert (answer.get_response()["model_name"], answer.get_response()["model_version"]) == ("m", "1.0.0")
    for name in wanted or tensors:
        # tritonclient gives an empty binary tensor as float64, whatever its datatype.
        np.testing.assert_array_equal(answer.as_numpy(name), tensors[name], strict=tensors[name].size > 0)


@given(st.dictionaries(st.text(max_size=5), ARRAYS.filter(lambda a: a.ndim and len(a)), min_size=1, max_size=3))
def test_any_tensors_come_through_tensorflow_serving_by_column_and_by_row(tensors: dict[str, NDArray]) -> None:
    described = _tensors(tensors)
    named = {name: array.tolist() for name, array in tensors.items()}
    only = next(iter(named.values())) if len(named) == 1 else None
    for document in [{"inputs": named}, *([] if only is None else [{"inputs": only}, {"instances": only}])]:
        request = tensorflow_serving.decode(json.dumps(document).encode(), described)
        # JSON lists tell no shape beyond an empty dimension.
        if all(array.size for array in tensors.values()):
            _assert_same(request.inputs, tensors)
        (answer,) = json.loads(tensorflow_serving.encode(request, tensors)).values()
        np.testing.assert_equal(answer, named if only is None else only)
    shortest = min(map(len, named.values()))
    rows = [{name: column[index] for name, column in named.items()} for index in range(shortest)]
    request = tensorflow_serving.decode(json.dumps({"instances": rows}).encode(), described)
    cut = {name: array[:shortest] for name, array in tensors.items()}
    if all(array.size for array in cut.values()):
        _assert_same(request.inputs, cut)
    answer = json.loads(tensorflow_serving.encode(request, cut))
    np.testing.assert_equal(answer, {"predictions": rows if only is None else only})


def test_a_raw_body_is_the_one_input_and_all_outputs_come_back_binary() -> None:
    described = (Tensor(name="x", shape=(None, 2), dtype="float32"),)
    request = protocol_v2.decode(X.tobytes(), "0", described, described)
    _assert_same(request.inputs, {"x": X})
    content, json_length = protocol_v2.encode(request, "m", "1", {"x": X})
    np.testing.assert_array_equal(
        triton.InferResult.from_response_body(content, header_length=json_length).as_numpy("x"), X
    )
    with pytest.raises(InputError, match=r"'x' needs 8 bytes for 2 of FP32; 9 came"):
        protocol_v2.decode(X.tobytes()[:9], "0", described, described)
    with pytest.raises(InputError, match="needs a model of one input"):
        protocol_v2.decode(X.tobytes(), "0", (*described, *described), described)


def test_numbers_that_are_not_json_are_taken_and_given_as_tensorflow_serving_does() -> None:
    described = (Tensor(name="x", shape=(None,), dtype="float32"),)
    request = tensorflow_serving.decode(b'{"instances": [NaN, Infinity, -Infinity, 1]}', described)
    np.testing.assert_array_equal(request.inputs["x"], np.array([np.nan, np.inf, -np.inf, 1], np.float32))
    assert tensorflow_serving.encode(request, request.inputs) == b'{"predictions":[NaN,Infinity,-Infinity,1.0]}'


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (["1"], "float32", "expects numbers for float32, in lists of equal length; a string came"),
        ([1, None], "float32", "null came"),
        ([True], "int32", "expects whole numbers for int32, .* true or false came"),
        ([1], "bool", "expects true or false for bool, .* numbers came"),
        ([[1, 2], [3]], "float32", "in lists of equal length; ragged lists came"),
        ([[1, 2], 3], "float32", "ragged lists came"),
        ([{"b64": "AA=="}], "uint8", "an object came"),
        ([1.5], "int32", "expects int32, but a number came that is none"),
        ([300], "uint8", "expects uint8, but a number came that is none: too large"),
        ([-1], "uint64", "too large"),
        ([2**64], "uint64", "too large"),
        ([float("nan")], "int64", "too large, or not whole"),
        ([float("inf")], "int64", "too large, or not whole"),
        ([1e39], "float32", "too large"),
        ([10**400], "float64", "too large"),
        ([70000], "float16", "too large"),
    ],
)
def test_what_is_not_the_models_kind_of_number_is_refused(value: object, dtype: str, message: str) -> None:
    with pytest.raises(InputError, match=f"'x' .*{message}"):
        to_array(value, dtype, "x")


@pytest.mark.parametrize(("value", "dtype"), [([1.0, -2], "int8"), ([1, 2.5], "float16"), ([2**64 - 1], "uint64")])
def test_a_number_may_be_written_in_any_way(value: list, dtype: str) -> None:
    array = to_array(value, dtype, "x")
    assert array.dtype == dtype
    assert array.tolist() == value


def test_a_string_among_many_numbers_costs_no_memory() -> None:
    with pytest.raises(InputError, match="a string came"):
        to_array(["a" * 10_000_000] + [0] * 100_000, "float32", "x")  # as a numpy string array: 4 TB


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=9))
def test_any_json_is_read_back(document: object) -> None:
    np.testing.assert_equal(parse(render(document)), document)


@pytest.mark.parametrize("document", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b'"\\ud800', b"1" * 5000, b"nan"])
def test_what_is_not_json_is_an_input_error(document: bytes) -> None:
    with pytest.raises(InputError, match=r"not JSON|nested too deep"):
        parse(document)


def _v2(**changes: object) -> bytes:
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2], **changes}
    return json.dumps({"inputs": [{key: value for key, value in tensor.items() if value is not ...}]}).encode()


@pytest.mark.parametrize(
    ("body", "length", "message"),
    [
        (b"[]", None, "Not an inference request: Expected `object`, got `array`"),
        (b"{}", None, "Not an inference request: Object missing required field `inputs`"),
        (_v2(shape=[-1, 2]), None, r"Expected `int` >= 0 - at `\$.inputs\[0\].shape"),
        (_v2(name="z"), None, r"Input 'z' is none of the model's; the inputs are \['x'\]"),
        (_v2(datatype="INT64"), None, r"Input 'x' is FP32, but INT64 came\. Send it as FP32"),
        (_v2(datatype="BYTES", data=["a"]), None, "Input 'x' is FP32, but BYTES came"),
        (_v2(shape=[3, 2]), None, r"of shape \[3, 2\] needs 6 numbers; 2 came"),
        (_v2(shape=[0, 10**30], data=[]), None, "a shape that no tensor can have"),
        (_v2(shape=[1] * 70 + [2]), None, "a shape that no tensor can have"),
        (_v2(data=...), None, "'x' has neither data nor binary_data_size"),
        (_v2(data=..., parameters={"binary_data_size": 8}), None, "8, but 0 bytes are left of the body"),
        (_v2(data=..., parameters={"binary_data_size": "8"}), None, "binary_data_size '8'"),
        (_v2(data=..., parameters={"shared_memory_region": "r"}), None, "lies in shared memory"),
        (_v2() + b"rest", str(len(_v2())), "4 bytes follow the last tensor"),
        (_v2(), "x", f"{HEADER_LENGTH} must be 0 to"),
        (_v2(), "9" * 5000, f"{HEADER_LENGTH} must be 0 to"),
        (_v2(), "10000", f"{HEADER_LENGTH} must be 0 to"),
    ],
)
def test_a_wrong_v2_request_says_what_is_wrong(body: bytes, length: str | None, message: str) -> None:
    described = (Tensor(name="x", shape=(None, 2), dtype="float32"),)
    with pytest.raises(InputError, match=message):
        protocol_v2.decode(body, length, described, described)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "is .* or .* one of the two"),
        ({"instances": [[1, 2]], "inputs": [[1, 2]]}, "one of the two"),
        ([], "one of the two"),
        ({"instances": []}, "a list of at least one row"),
        ({"instances": 3}, "a list of at least one row"),
        ({"instances": [{"z": [1, 2]}]}, r"`instances\[0\]` must be an object of the inputs \['x'\]; \['z'\] came"),
        ({"instances": [{"x": [1, 2]}, [1, 2]]}, r"`instances\[1\]` must be .* something else came"),
        ({"inputs": {"x": [[1, 2]], "z": 1}}, "`inputs` must be an object"),
        ({"instances": [[1, 2]], "signature_name": "other"}, "no signature 'other'; the only one is 'serving_default'"),
        ({"instances": [[1, 2]], "signature_name": ["a"]}, "no signature"),
    ],
)
def test_a_wrong_tensorflow_request_says_what_is_wrong(document: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tensorflow_serving.decode(json.dumps(document).encode(), (Tensor(name="x", shape=(None, 2), dtype="float32"),))


def test_an_output_without_rows_is_refused_by_row_and_given_by_column() -> None:
    total = {"total": np.float32(3).reshape(())}
    with pytest.raises(InputError, match="'total' has no row for each instance"):
        tensorflow_serving.encode(tensorflow_serving.Request({"x": X}, 2), total)
    assert tensorflow_serving.encode(tensorflow_serving.Request({"x": X}, None), total) == b'{"outputs":3.0}'


@pytest.fixture
def http(multiply_bundle: Make) -> Iterator[TestClient]:
    served = Served.open(str(multiply_bundle()), variant=None, engine=None, threads=None)
    with served.model, TestClient(make_app(served, Limits(max_delay_ms=0)), raise_server_exceptions=False) as client:
        yield client


def _mutations(content: bytes) -> st.SearchStrategy[bytes]:
    """Some bytes overwritten, cut out or put in."""
    edit = st.tuples(st.integers(0, len(content)), st.integers(0, 3), st.binary(max_size=3))

    def apply(edits: list[tuple[int, int, bytes]]) -> bytes:
        mutated = content
        for place, removed, put_in in edits:
            mutated = mutated[:place] + put_in + mutated[place + removed :]
        return mutated

    return st.lists(edit, max_size=4).map(apply)


_SENT, _SENT_LENGTH = _triton_request({"x": X}, {"x"}, {"y": True})
_LENGTHS = st.none() | st.just(_SENT_LENGTH) | st.integers(-1, 400).map(str) | st.text("0123456789x ", max_size=5)


@given(body=st.binary(max_size=40) | _mutations(_SENT), length=_LENGTHS)
def test_a_mutated_v2_body_is_refused_or_answered_rightly(http: TestClient, body: bytes, length: str | None) -> None:
    headers = {} if length is None else {HEADER_LENGTH: length}
    answer = http.post("/v2/models/toy/infer", content=body, headers=headers)
    if answer.status_code == 200:
        described = (Tensor(name="x", shape=(None, 2), dtype="float32"),), (Tensor(name="y", shape=(), dtype="int8"),)
        x = protocol_v2.decode(body, length and length.strip(), *described).inputs["x"]
        json_length = answer.headers.get(HEADER_LENGTH)
        came = triton.InferResult.from_response_body(answer.content, header_length=json_length).as_numpy("y")
        np.testing.assert_array_equal(came, x * np.float32(2))
    else:
        assert (answer.status_code, list(answer.json())) == (400, ["error"])


@given(body=st.binary(max_size=40) | _mutations(b'{"instances": [[1.0, -2.5], [3, 4e1]]}'))
def test_a_mutated_tensorflow_body_is_refused_or_answered_rightly(http: TestClient, body: bytes) -> None:
    answer = http.post("/v1/models/toy:predict", content=body)
    if answer.status_code == 200:
        x = np.array(json.loads(body)["instances"], np.float32)
        came = np.array(json.loads(answer.content)["predictions"], np.float32)
        np.testing.assert_array_equal(came, x * np.float32(2))
    else:
        assert (answer.status_code, list(answer.json())) == (400, ["error"])
