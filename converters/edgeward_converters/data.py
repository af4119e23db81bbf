"""Calibration and evaluation data: from .npz files, dicts or arrays to the model's own inputs.

All of it is checked here, once: shapes fit the model, values survive its dtypes, and labels are numbers.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from edgeward_runtimes import npz
from edgeward_runtimes.errors import InputError
from edgeward_runtimes.manifest import Tensor

Arrays = dict[str, NDArray[Any]]
Calibration = str | os.PathLike[str] | Mapping[str, ArrayLike] | ArrayLike  # (x, y) as well
Evaluation = str | os.PathLike[str] | Mapping[str, ArrayLike] | tuple[ArrayLike, ArrayLike]

_NUMERIC = "fiub"


class Labelled(Struct, frozen=True):
    """Inputs by name and what is true of them: labels (n,) or (n, 1), or target arrays (n, …)."""

    inputs: Arrays
    y: NDArray[Any]


class Data(Struct, frozen=True):
    """All the data of one conversion; `calibration_y` is what is true of the calibration samples, if it was given."""

    calibration: Arrays | None = None
    calibration_y: NDArray[Any] | None = None
    evaluation: Labelled | None = None
    training: Labelled | None = None

    @property
    def trained_on(self) -> Arrays | None:
        """The training inputs."""
        return None if self.training is None else self.training.inputs


def read(
    inputs: tuple[Tensor, ...],
    given_calibration: Calibration | None,
    given_evaluation: Evaluation | None,
    given_training: Evaluation | None = None,
) -> Data:
    """Read what there is of the three; without calibration data, training inputs calibrate. Raises InputError."""
    training = None if given_training is None else labelled(given_training, inputs, "training")
    found, y = (training.inputs, training.y) if training is not None else (None, None)
    if given_calibration is not None:
        found, y = _calibration(given_calibration, inputs)
    return Data(
        found,
        y,
        None if given_evaluation is None else labelled(given_evaluation, inputs, "evaluation"),
        training,
    )


def calibration(given: Calibration, inputs: tuple[Tensor, ...]) -> Arrays:
    """Read calibration data: one array per input by name, or `x` for a single input. Raises InputError."""
    return _calibration(given, inputs)[0]


def _calibration(given: Calibration, inputs: tuple[Tensor, ...]) -> tuple[Arrays, NDArray[Any] | None]:
    """Calibration data, and its array `y` unless that is an input."""
    arrays = _arrays(_named(given), "calibration")
    found = _inputs(arrays, inputs, "calibration")
    if "y" not in arrays or any(tensor.name == "y" for tensor in inputs):
        return found, None
    _check_truth(arrays["y"], len(next(iter(found.values()))), "calibration")
    return found, arrays["y"]


def labelled(given: Evaluation, inputs: tuple[Tensor, ...], what: str) -> Labelled:
    """Read evaluation or training data (`what`): inputs as above, and `y`. Raises InputError."""
    arrays = _arrays(_named(given), what)
    if "y" not in arrays:
        raise InputError(f"The {what} data has no array 'y' with the labels; it has {sorted(arrays)}.")
    y = arrays.pop("y")
    found = _inputs(arrays, inputs, what)
    _check_truth(y, len(next(iter(found.values()))), what)
    return Labelled(found, y)


def _named(given: Any) -> Any:
    """The pair (x, y) as a dict."""
    return {"x": given[0], "y": given[1]} if isinstance(given, tuple) and len(given) == 2 else given


def _arrays(given: object, what: str) -> Arrays:
    if isinstance(given, str | os.PathLike):
        return npz.read(Path(given), what)
    by_name = given if isinstance(given, Mapping) else {"x": given}
    try:
        return {str(name): np.asarray(array) for name, array in by_name.items()}
    except ValueError as error:
        raise InputError(f"The {what} data is not made of arrays: {error}.") from error


def _check_truth(y: NDArray[Any], samples: int, what: str) -> None:
    """Hold what every metric needs of `y`; what one of them needs beyond is its own business."""
    if y.dtype.kind not in _NUMERIC:
        raise InputError(
            f"The {what} data's 'y' is {y.dtype}; expected numbers: labels as class indexes, or target arrays."
        )
    if y.ndim == 0 or len(y) != samples:
        came = "a single number" if y.ndim == 0 else f"{len(y)} labels"
        raise InputError(f"The {what} data has {samples} samples but {came} in 'y'.")
    if not np.isfinite(y).all():
        raise InputError(f"The {what} data's 'y' holds NaN or infinity; leave those samples out.")


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
    if array.dtype.kind not in _NUMERIC:
        raise InputError(f"The {what} data for input {tensor.name!r} is {array.dtype}; the model takes {tensor.dtype}.")
    return _cast(array, tensor, what)


def _cast(array: NDArray[Any], tensor: Tensor, what: str) -> NDArray[Any]:
    """The array in the tensor's dtype: floats may be rounded, everything else must stay what it is."""
    with np.errstate(invalid="ignore", over="ignore"):
        cast = np.ascontiguousarray(array.astype(tensor.dtype, copy=False))
    lost = np.isfinite(array) & ~np.isfinite(cast) if cast.dtype.kind == "f" else cast != array
    if lost.any():
        raise InputError(
            f"The {what} data for input {tensor.name!r} holds {array[lost][0].item()}, which does not "
            f"survive in {tensor.dtype}, the model's dtype. Scale or round the data as for training."
        )
    return cast
