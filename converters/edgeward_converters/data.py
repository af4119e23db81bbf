"""Calibration and evaluation data: from .npz files, dicts or arrays to the model's own inputs."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from edgeward_runtimes.errors import InputError
from edgeward_runtimes.manifest import Tensor

Arrays = dict[str, NDArray[Any]]
Calibration = str | os.PathLike[str] | Mapping[str, ArrayLike] | ArrayLike
Evaluation = str | os.PathLike[str] | Mapping[str, ArrayLike] | tuple[ArrayLike, ArrayLike]


class Labelled(Struct, frozen=True):
    """Inputs by name and what is true of them: integer labels (n,) or target arrays (n, …)."""

    inputs: Arrays
    y: NDArray[Any]


def calibration(given: Calibration, inputs: tuple[Tensor, ...]) -> Arrays:
    """Read calibration data: one array per input by name, or `x` for a single input. Raises InputError."""
    return _inputs(_arrays(given, "calibration"), inputs, "calibration")


def evaluation(given: Evaluation, inputs: tuple[Tensor, ...]) -> Labelled:
    """Read evaluation data: inputs as above, and `y`. Raises InputError."""
    if isinstance(given, tuple):
        given = {"x": given[0], "y": given[1]}
    arrays = _arrays(given, "evaluation")
    if "y" not in arrays:
        raise InputError(f"The evaluation data has no array 'y' with the labels; it has {sorted(arrays)}.")
    y = arrays.pop("y")
    if y.ndim == 2 and y.shape[1] == 1 and y.dtype.kind in "iu":
        y = y[:, 0]
    found = _inputs(arrays, inputs, "evaluation")
    samples = len(next(iter(found.values())))
    if len(y) != samples:
        raise InputError(f"The evaluation data has {samples} samples but {len(y)} labels in 'y'.")
    return Labelled(found, y)


def _arrays(given: object, what: str) -> Arrays:
    if isinstance(given, str | os.PathLike):
        return _read(Path(given), what)
    if isinstance(given, Mapping):
        return {str(name): np.asarray(array) for name, array in given.items()}
    return {"x": np.asarray(given)}


def _read(path: Path, what: str) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if isinstance(arrays, np.ndarray):
                return {"x": arrays}
            return {name: arrays[name] for name in arrays.files}
    except FileNotFoundError:
        raise InputError(f"The {what} file {path} does not exist.") from None
    except (ValueError, OSError, EOFError, AttributeError, TypeError) as error:
        raise InputError(f"The {what} file {path} is not an .npz of plain arrays: {error}.") from error


def _inputs(arrays: Arrays, inputs: tuple[Tensor, ...], what: str) -> Arrays:
    """The arrays of the model's inputs, in its dtypes; shapes must fit."""
    if len(inputs) == 1 and "x" in arrays and inputs[0].name not in arrays:
        arrays = {**arrays, inputs[0].name: arrays["x"]}
    missing = [tensor.name for tensor in inputs if tensor.name not in arrays]
    if missing:
        raise InputError(f"The {what} data has no array for input {missing[0]!r}; it has {sorted(arrays)}.")
    found = {tensor.name: _fitted(arrays[tensor.name], tensor, what) for tensor in inputs}
    sizes = {name: len(array) for name, array in found.items()}
    if len(set(sizes.values())) > 1:
        raise InputError(f"The {what} data has different numbers of samples: {sizes}.")
    if 0 in sizes.values():
        raise InputError(f"The {what} data has no samples.")
    return found


def _fitted(array: NDArray[Any], tensor: Tensor, what: str) -> NDArray[Any]:
    fits = array.ndim == len(tensor.shape) and all(
        expected is None or size == expected for expected, size in zip(tensor.shape[1:], array.shape[1:], strict=True)
    )
    if not fits:
        shape = ", ".join("any" if size is None else str(size) for size in tensor.shape)
        raise InputError(
            f"The {what} data for input {tensor.name!r} has shape {array.shape}; the model takes ({shape})."
        )
    if array.dtype.kind not in "fiub":
        raise InputError(f"The {what} data for input {tensor.name!r} is {array.dtype}; the model takes {tensor.dtype}.")
    return np.ascontiguousarray(array.astype(tensor.dtype, copy=False))
