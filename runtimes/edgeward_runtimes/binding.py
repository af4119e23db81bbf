"""Between the caller's tensors and an engine's: checks, order, quantized I/O, batches of any size.

A binding is made once for an opened session. The public tensors are the manifest's; the engine's may stand in
another order, be quantized integers, or take a fixed batch. All of that ends here: above it, floats and any
batch; below it, exactly what the artifact wants.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeward_runtimes.engines import Port, Session
from edgeward_runtimes.errors import EngineError, InputError
from edgeward_runtimes.manifest import Tensor

Array = NDArray[Any]
Inputs = Array | Mapping[str, Array]


class Binding:
    """One session behind the manifest's tensors. Not thread-safe: the model locks."""

    def __init__(self, session: Session, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self._session = session
        self._input_order = _match("input", session.inputs, self.inputs)
        self._output_order = _match("output", self.outputs, session.outputs)
        self._dtypes = [np.dtype(tensor.dtype) for tensor in self.inputs]
        self._ranks = [len(tensor.shape) for tensor in self.inputs]
        self._fixed_batch = _fixed_batch(session.inputs, self.inputs)

    def check(self, x: Inputs) -> list[Array]:
        """Return the inputs in the manifest's order. Raises InputError that names the tensor."""
        if isinstance(x, np.ndarray):
            if len(self.inputs) != 1:
                raise InputError(f"The model has {len(self.inputs)} inputs: pass a dict of {self._names()}.")
            arrays = [x]
        elif isinstance(x, Mapping):
            if set(x) != {tensor.name for tensor in self.inputs}:
                raise InputError(f"The inputs are {self._names()}, but the dict has {sorted(map(str, x))}.")
            arrays = [x[tensor.name] for tensor in self.inputs]
        else:
            raise InputError(
                f"Expected a numpy array, or a dict of them for {self._names()}; got {type(x).__name__}. "
                f"Make one with np.asarray(x, dtype={self.inputs[0].dtype!r})."
            )
        for tensor, dtype, rank, array in zip(self.inputs, self._dtypes, self._ranks, arrays, strict=True):
            if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != rank:
                raise InputError(_mismatch(tensor, array))
            for expected, size in zip(tensor.shape, array.shape, strict=True):
                if size != expected and (expected is not None or size == 0):
                    raise InputError(_mismatch(tensor, array))
        if len(arrays) > 1:
            self._check_batches(arrays)
        return arrays

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Run checked inputs of any batch size; outputs in the manifest's order and dtypes."""
        batch = self._fixed_batch
        if batch is None or arrays[0].shape[0] == batch:
            return self._run_once(arrays)
        chunks = [
            self._run_padded([array[start : start + batch] for array in arrays], batch)
            for start in range(0, arrays[0].shape[0], batch)
        ]
        return [np.concatenate(parts) for parts in zip(*chunks, strict=True)]

    def _run_padded(self, arrays: Sequence[Array], batch: int) -> list[Array]:
        """Run at most `batch` samples on a session that takes exactly `batch`."""
        missing = batch - arrays[0].shape[0]
        if missing:
            arrays = [np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) for array in arrays]
        outputs = self._run_once(arrays)
        return [output[: batch - missing] for output in outputs] if missing else outputs

    def _run_once(self, arrays: Sequence[Array]) -> list[Array]:
        session = self._session
        feeds = [
            _quantize(arrays[position], port) for position, port in zip(self._input_order, session.inputs, strict=True)
        ]
        results = session.run(feeds)
        return [
            _dequantize(results[position], session.outputs[position], tensor)
            for position, tensor in zip(self._output_order, self.outputs, strict=True)
        ]

    def _check_batches(self, arrays: Sequence[Array]) -> None:
        batched = [
            (tensor.name, array.shape[0])
            for tensor, array in zip(self.inputs, arrays, strict=True)
            if tensor.shape and tensor.shape[0] is None
        ]
        if len({size for _, size in batched}) > 1:
            raise InputError(f"The inputs' batch sizes differ: {dict(batched)}.")

    def _names(self) -> list[str]:
        return [tensor.name for tensor in self.inputs]


def _match(kind: str, wanted: Sequence[Port | Tensor], given: Sequence[Port | Tensor]) -> list[int]:
    """For each wanted tensor, its place among the given: by name where all names agree, else in order."""
    if len(wanted) != len(given):
        raise EngineError(f"The artifact and the manifest differ in their number of {kind}s.")
    places = {tensor.name: place for place, tensor in enumerate(given)}
    if set(places) == {tensor.name for tensor in wanted}:
        return [places[tensor.name] for tensor in wanted]
    return list(range(len(wanted)))


def _fixed_batch(ports: Sequence[Port], tensors: Sequence[Tensor]) -> int | None:
    """The one batch size that the artifact takes where the manifest allows any, or None."""
    if not all(tensor.shape and tensor.shape[0] is None for tensor in tensors):
        return None
    return ports[0].shape[0] if ports[0].shape else None


def _quantize(array: Array, port: Port) -> Array:
    """Turn floats into the port's integers: round half to even, saturate (as the LiteRT specification says)."""
    if port.scale is None or array.dtype.kind != "f":
        return np.ascontiguousarray(array)
    limits = np.iinfo(port.dtype)
    scaled = np.rint(array / np.float32(port.scale)) + port.zero_point
    quantized: Array = np.clip(scaled, limits.min, limits.max).astype(port.dtype)
    return quantized


def _dequantize(array: Array, port: Port, tensor: Tensor) -> Array:
    """Turn the port's integers into the manifest's dtype."""
    if port.scale is not None and array.dtype.kind in "iu" and tensor.dtype.startswith("float"):
        array = (array.astype(np.float32) - port.zero_point) * np.float32(port.scale)
    return array.astype(tensor.dtype, copy=False)


def _mismatch(tensor: Tensor, array: object) -> str:
    """Say what was expected of an input, what came, and how to mend it."""
    shape = ", ".join("any" if size is None else str(size) for size in tensor.shape)
    expected = f"Input {tensor.name!r} expects {tensor.dtype} of shape ({shape})"
    if not isinstance(array, np.ndarray):
        return f"{expected}, but a {type(array).__name__} came. Make it with np.asarray(x, {tensor.dtype!r})."
    came = f"{expected}, but {array.dtype.name} of shape {array.shape} came."
    if array.ndim == len(tensor.shape) - 1:
        return f"{came} Add the batch axis with x[None]."
    if array.dtype != np.dtype(tensor.dtype):
        return f"{came} Convert it with x.astype({tensor.dtype!r})."
    if 0 in array.shape:
        return f"{came} Pass at least one sample."
    return came
