"""TensorFlow Serving's REST predict in bytes: `instances` by row, or `inputs` by column.

    {"instances": [x, …]}                     one input         → {"predictions": [y, …]}
    {"instances": [{"a": x, "b": x}, …]}      several, by name  → {"predictions": [y, …]}
    {"inputs": x} or {"inputs": {"a": x}}     whole tensors     → {"outputs": y}

An answer names its outputs only where the model has several, in an object per row or in one of whole tensors. JSON's
numbers become the model's dtype. There is one signature, `serving_default`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from edgeward.serve.json_tensors import parse, render, to_array
from edgeward_runtimes.binding import Array
from edgeward_runtimes.errors import InputError
from edgeward_runtimes.manifest import Tensor

SIGNATURE = "serving_default"
_NAMED = {"float16": "HALF", "float32": "FLOAT", "float64": "DOUBLE"}


class Request(Struct, frozen=True):
    """A predict request: arrays by input name. `rows` is how many came, None where whole tensors did."""

    inputs: dict[str, Array]
    rows: int | None


def decode(body: bytes, inputs: Sequence[Tensor]) -> Request:
    """Read a predict request for a model's inputs. Raises InputError."""
    document = parse(body)
    if not isinstance(document, dict) or ("instances" in document) == ("inputs" in document):
        raise InputError('A predict request is {"instances": [row, …]} or {"inputs": tensors}, one of the two.')
    signature = document.get("signature_name") or SIGNATURE
    if signature != SIGNATURE:
        raise InputError(
            f"There is no signature {signature!r}; the only one is {SIGNATURE!r}. Leave signature_name out."
        )
    names = [tensor.name for tensor in inputs]
    if "inputs" in document:
        columns, rows = _whole(document["inputs"], names), None
    else:
        columns, rows = _by_column(document["instances"], names), len(document["instances"])
    return Request({each.name: to_array(columns[each.name], each.dtype, each.name) for each in inputs}, rows)


def encode(request: Request, arrays: Mapping[str, Array]) -> bytes:
    """Write the answer. Raises InputError when rows were asked of an output that has none."""
    values = {name: array.tolist() for name, array in arrays.items()}
    only = next(iter(values.values())) if len(values) == 1 else None
    if request.rows is None:
        return render({"outputs": values if only is None else only})
    for name, array in arrays.items():
        if array.ndim == 0 or len(array) != request.rows:
            raise InputError(f"Output {name!r} has no row for each instance. Ask for it with `inputs`.")
    return render({"predictions": only if only is not None else _by_row(values)})


def status(version: str) -> dict[str, object]:
    """`GET /v1/models/NAME`."""
    well = {"error_code": "OK", "error_message": ""}
    return {"model_version_status": [{"version": version, "state": "AVAILABLE", "status": well}]}


def metadata(name: str, version: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> dict[str, object]:
    """`GET /v1/models/NAME/metadata`."""
    signature = {
        "inputs": {tensor.name: _described(tensor) for tensor in inputs},
        "outputs": {tensor.name: _described(tensor) for tensor in outputs},
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": version},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE: signature}}},
    }


def _described(tensor: Tensor) -> dict[str, object]:
    dimensions = [{"size": str(-1 if size is None else size), "name": ""} for size in tensor.shape]
    return {
        "dtype": f"DT_{_NAMED.get(tensor.dtype, tensor.dtype.upper())}",
        "tensor_shape": {"dim": dimensions, "unknown_rank": False},
        "name": tensor.name,
    }


def _whole(value: object, names: Sequence[str]) -> Mapping[str, object]:
    """Tensors by name; the one input's may stand alone."""
    if not isinstance(value, dict) and len(names) == 1:
        return {names[0]: value}
    return _with_names(value, names, "inputs")


def _by_column(instances: Any, names: Sequence[str]) -> Mapping[str, object]:
    """Turn rows into tensors by name; the rows of one input may go without its name."""
    if not isinstance(instances, list) or not instances:
        raise InputError("`instances` must be a list of at least one row.")
    if len(names) == 1 and not any(isinstance(row, dict) for row in instances):
        return {names[0]: instances}
    rows = [_with_names(row, names, f"instances[{index}]") for index, row in enumerate(instances)]
    return {name: [row[name] for row in rows] for name in names}


def _by_row(columns: Mapping[str, list[object]]) -> list[dict[str, object]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _with_names(value: object, names: Sequence[str], where: str) -> Mapping[str, object]:
    if not isinstance(value, dict) or set(value) != set(names):
        came = sorted(map(str, value)) if isinstance(value, dict) else "something else"
        raise InputError(f"`{where}` must be an object of the inputs {sorted(names)}; {came} came.")
    return value
