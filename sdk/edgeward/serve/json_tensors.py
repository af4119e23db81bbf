"""Between JSON and numpy, strictly: what is not the model's kind of number is refused and not bent.

- Numbers become the model's dtype when nothing but a float's last digits is lost: 1.5 is no int32, 300 no uint8, 1e39
  no float32; "1", null and true are no numbers, 1 is no bool.
- NaN, Infinity and -Infinity are taken and given as those bare tokens. That is not JSON, but it is what TensorFlow
  Serving does and what the clients of either protocol read; null would be a number lost. Binary tensors carry them as
  they are.
"""

import json
from typing import Any

import msgspec
import numpy as np

from edgeward_runtimes.binding import Array
from edgeward_runtimes.errors import InputError

_PYTHON_TYPES: dict[str, set[type]] = {"f": {float, int}, "i": {float, int}, "u": {float, int}, "b": {bool}}
_KINDS = {"f": "numbers", "i": "whole numbers", "u": "whole numbers", "b": "true or false"}
_JSON_NAMES = {str: "a string", bool: "true or false", type(None): "null", dict: "an object", list: "ragged lists"}


def parse(document: bytes) -> Any:
    """Read JSON, NaN and the infinities included. Raises InputError."""
    try:
        return msgspec.json.decode(document)
    except (ValueError, RecursionError):
        pass  # perhaps only for a NaN or an infinity, which the slower parser knows
    try:
        return json.loads(document)
    except RecursionError:
        raise InputError("The request's JSON is nested too deep.") from None
    except ValueError as error:
        raise InputError(f"The request is not JSON: {error}.") from None


def render(document: object) -> bytes:
    """Write JSON, with the tokens NaN, Infinity and -Infinity where such numbers are."""
    return json.dumps(document, separators=(",", ":")).encode()


def to_array(value: object, dtype: str, name: str) -> Array:
    """Make nested lists an array of a dtype; `name` is the tensor's, for errors. Raises InputError."""
    # As objects first: numpy alone would read "1" and null as numbers, and pad one long string to the length of all.
    cells = np.asarray(value, dtype=object)
    wanted = np.dtype(dtype)
    wrong = {type(cell) for cell in cells.ravel().tolist()} - _PYTHON_TYPES[wanted.kind]
    if wrong:
        came = " and ".join(sorted(_JSON_NAMES.get(each, "numbers") for each in wrong))
        raise InputError(f"{name!r} expects {_KINDS[wanted.kind]} for {dtype}, in lists of equal length; {came} came.")
    try:
        with np.errstate(over="ignore"):
            array: Array = cells.astype(wanted)
    except (OverflowError, ValueError):  # an integer out of the dtype's range; a NaN for an integer
        array = np.empty(0, wanted)
    if not _same(array, cells):
        raise InputError(f"{name!r} expects {dtype}, but a number came that is none: too large, or not whole.")
    return array


def _same(array: Array, cells: Array) -> bool:
    """Whether converting kept every number; a float may have been rounded, but not to infinity."""
    if array.shape != cells.shape:
        return False
    if array.dtype.kind == "f":
        return bool(np.array_equal(np.isinf(array), np.isinf(cells.astype(np.float64))))
    return bool(np.all(array == cells))
