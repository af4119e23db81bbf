"""The Open Inference Protocol v2 in bytes: what KServe, Triton and OpenVINO Model Server speak over REST.

With it goes Triton's binary tensor data extension, which its client uses unless told otherwise: the body is JSON, whose
length the header `Inference-Header-Content-Length` tells, and then the tensors that say `binary_data_size`, one after
another, little-endian and row-major. A length of 0 is a raw request: the body is the one input and nothing else.

- A tensor's datatype must be the model's: it is never converted. Within JSON a number may be written in any way.
- Every byte must belong to a tensor; a size that does not fit its shape is an error.
- Outputs come as JSON unless binary is asked for, for one (`binary_data`) or for all (`binary_data_output`).
- Unknown parameters are passed over; what would change the answer and is not done here (shared memory,
  classification) is an error.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import UNSET, Meta, Struct

from edgeward.serve.json_tensors import parse, render, to_array
from edgeward_runtimes.binding import Array
from edgeward_runtimes.errors import InputError
from edgeward_runtimes.manifest import Tensor

DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
HEADER_LENGTH = "Inference-Header-Content-Length"
_LENGTH = re.compile(r"[0-9]{1,18}")


class Wanted(Struct, frozen=True):
    """An output to answer with, and how."""

    name: str
    is_binary: bool


class Request(Struct, frozen=True):
    """An inference request: arrays by input name, and the outputs to answer with, in order."""

    inputs: dict[str, Array]
    outputs: tuple[Wanted, ...]
    id: str | None = None


class _InputDocument(Struct):
    name: str
    shape: list[Annotated[int, Meta(ge=0)]]
    datatype: str
    parameters: dict[str, Any] = {}
    data: Any = UNSET


class _OutputDocument(Struct):
    name: str
    parameters: dict[str, Any] = {}


class _RequestDocument(Struct):
    inputs: list[_InputDocument]
    outputs: list[_OutputDocument] = []
    parameters: dict[str, Any] = {}
    id: str | None = None


def decode(body: bytes, header_length: str | None, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Request:
    """Read an inference request.

    Args:
        body: The HTTP body.
        header_length: The header `Inference-Header-Content-Length`, where it was sent.
        inputs: The model's.
        outputs: The model's.

    Raises:
        InputError: When it is malformed or does not fit the model's tensors by name or datatype.
    """
    length = _json_length(header_length, len(body))
    if length == 0 and header_length is not None:
        return Request(_raw(body, inputs), tuple(Wanted(tensor.name, True) for tensor in outputs))
    document = _document(body[:length])
    arrays = _arrays(document.inputs, memoryview(body)[length:], {tensor.name: tensor for tensor in inputs})
    return Request(arrays, _wanted(document, [tensor.name for tensor in outputs]), document.id)


def encode(request: Request, name: str, version: str, arrays: Mapping[str, Array]) -> tuple[bytes, int | None]:
    """Write the answer: its body, and the JSON's length in it where binary tensors follow."""
    described = []
    binaries = []
    for wanted in request.outputs:
        array = arrays[wanted.name]
        output: dict[str, Any] = {
            "name": wanted.name,
            "shape": list(array.shape),
            "datatype": DATATYPES[array.dtype.name],
        }
        if wanted.is_binary:
            binaries.append(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
            output["parameters"] = {"binary_data_size": len(binaries[-1])}
        else:
            output["data"] = array.ravel().tolist()
        described.append(output)
    answer = {"model_name": name, "model_version": version, "outputs": described}
    document = render(answer if request.id is None else {**answer, "id": request.id})
    return b"".join([document, *binaries]), len(document) if binaries else None


def server_metadata(version: str) -> dict[str, object]:
    """`GET /v2`."""
    return {"name": "edgeward", "version": version, "extensions": ["binary_tensor_data"]}


def model_metadata(
    name: str, version: str, platform: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> dict[str, object]:
    """`GET /v2/models/NAME`."""
    tensors = {"inputs": [_described(each) for each in inputs], "outputs": [_described(each) for each in outputs]}
    return {"name": name, "versions": [version], "platform": platform, **tensors}


def _described(tensor: Tensor) -> dict[str, object]:
    shape = [-1 if size is None else size for size in tensor.shape]
    return {"name": tensor.name, "datatype": DATATYPES[tensor.dtype], "shape": shape}


def _json_length(header_length: str | None, available: int) -> int:
    if header_length is None:
        return available
    if not _LENGTH.fullmatch(header_length) or int(header_length) > available:
        raise InputError(f"{HEADER_LENGTH} must be 0 to {available}, the body's length; {header_length[:20]!r} came.")
    return int(header_length)


def _document(text: bytes) -> _RequestDocument:
    try:
        return msgspec.convert(parse(text), _RequestDocument)
    except msgspec.ValidationError as error:
        raise InputError(f"Not an inference request: {error}.") from None


def _arrays(described: Sequence[_InputDocument], binary: memoryview, tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    """Every input as an array, its bytes taken from `binary` in order."""
    arrays: dict[str, Array] = {}
    for each in described:
        if each.name not in tensors or each.name in arrays:
            problem = "comes twice" if each.name in arrays else "is none of the model's"
            raise InputError(f"Input {each.name!r} {problem}; the inputs are {sorted(tensors)}.")
        expected = DATATYPES[tensors[each.name].dtype]
        if each.datatype != expected:
            raise InputError(f"Input {each.name!r} is {expected}, but {each.datatype} came. Send it as {expected}.")
        size = _binary_size(each, len(binary))
        arrays[each.name] = _array(each, tensors[each.name].dtype, None if size is None else binary[:size])
        binary = binary[size or 0 :]
    if binary:
        raise InputError(f"{len(binary)} bytes follow the last tensor: no binary_data_size accounts for them.")
    return arrays


def _binary_size(described: _InputDocument, available: int) -> int | None:
    if "shared_memory_region" in described.parameters:
        raise InputError(f"Input {described.name!r} lies in shared memory, which is not served. Send it in the body.")
    size = described.parameters.get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or not 0 <= size <= available:
        raise InputError(
            f"Input {described.name!r} has binary_data_size {size!r}, but {available} bytes are left of the body. "
            f"The header {HEADER_LENGTH} says where they begin."
        )
    return size


def _array(described: _InputDocument, dtype: str, content: memoryview | None) -> Array:
    """One input, from its bytes or its JSON data, in its shape."""
    count = math.prod(described.shape)
    if content is not None:
        flat = _from_bytes(content, dtype, count, described.name)
    elif described.data is UNSET:
        raise InputError(f"Input {described.name!r} has neither data nor binary_data_size.")
    else:
        flat = to_array(described.data, dtype, described.name).ravel()
    if flat.size != count:
        raise InputError(
            f"Input {described.name!r} of shape {described.shape} needs {count} numbers; {flat.size} came."
        )
    try:
        return flat.reshape(described.shape)
    except (ValueError, OverflowError):  # more dimensions than numpy has, or one beyond any memory
        raise InputError(f"Input {described.name!r} has a shape that no tensor can have.") from None


def _from_bytes(content: memoryview, dtype: str, count: int, name: str) -> Array:
    wanted = np.dtype(dtype).newbyteorder("<")
    if len(content) != count * wanted.itemsize:
        raise InputError(
            f"Input {name!r} needs {count * wanted.itemsize} bytes for {count} of {DATATYPES[dtype]}; "
            f"{len(content)} came."
        )
    if wanted.kind == "b":
        return np.frombuffer(content, np.uint8).astype(np.bool_)
    # The JSON before it may be of any length, and an engine wants its floats at addresses that fit them.
    return np.require(np.frombuffer(content, wanted), dtype, ["ALIGNED"])


def _raw(body: bytes, inputs: Sequence[Tensor]) -> dict[str, Array]:
    """A body that is the model's one input; its size tells the one dimension that is free."""
    tensor = inputs[0]
    if len(inputs) > 1 or tensor.shape.count(None) > 1:
        raise InputError(f"A raw request ({HEADER_LENGTH}: 0) needs a model of one input with one free dimension.")
    item_bytes = math.prod(size for size in tensor.shape if size is not None) * np.dtype(tensor.dtype).itemsize
    shape = [len(body) // item_bytes if size is None else size for size in tensor.shape]
    return {tensor.name: _from_bytes(memoryview(body), tensor.dtype, math.prod(shape), tensor.name).reshape(shape)}


def _wanted(document: _RequestDocument, names: Sequence[str]) -> tuple[Wanted, ...]:
    """The outputs asked for: all of them, when none is named."""
    by_default = document.parameters.get("binary_data_output") is True
    for each in document.outputs:
        if each.name not in names:
            raise InputError(f"Output {each.name!r} is none of the model's; the outputs are {sorted(names)}.")
        for parameter in ("classification", "shared_memory_region"):
            if parameter in each.parameters:
                raise InputError(f"Output {each.name!r} is asked for with {parameter}, which is not served.")
    if not document.outputs:
        return tuple(Wanted(name, by_default) for name in names)
    return tuple(Wanted(each.name, each.parameters.get("binary_data", by_default) is True) for each in document.outputs)
