"""Between the caller's tensors and an engine's: checks, order, quantized I/O, batches of any size.

A binding is made once for an opened session. The public tensors are the manifest's; the engine's may stand in
another order, be quantized integers, or take a fixed batch. All of that ends here: above it, floats and any
batch; below it, exactly what the artifact wants.

What is checked and prepared for one call holds for the next of the same shapes. With one float input, "the same" is
seen by comparing its shape and dtype, and nothing else stands between the caller and the engine.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.typing import NDArray

from edgeward_runtimes.engines import Port, Session
from edgeward_runtimes.errors import EngineError, InputError
from edgeward_runtimes.manifest import Tensor
from edgeward_runtimes.quantized import Dequantizer, Quantizer

Array = NDArray[Any]
Inputs = Array | Mapping[str, Array]
Outputs = Array | dict[str, Array]
Shapes = tuple[tuple[int, ...], ...]


class Binding:
    """One session behind the manifest's tensors. For one thread at a time: the model hands it out."""

    def __init__(self, session: Session, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        self.placement = session.placement
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self._session, self._run_session = session, session.run
        self._input_order = _match("input", session.inputs, self.inputs)
        self._output_order = _match("output", self.outputs, session.outputs)
        self._dtypes = [np.dtype(tensor.dtype) for tensor in self.inputs]
        self._ranks = [len(tensor.shape) for tensor in self.inputs]
        self._fixed_batch = _fixed_batch(session.inputs, self.inputs)
        self._quantizers = [
            Quantizer.of(port, self.inputs[self._input_order[i]]) for i, port in enumerate(session.inputs)
        ]
        self._dequantizers = [
            Dequantizer.of(session.outputs[place], tensor)
            for place, tensor in zip(self._output_order, self.outputs, strict=True)
        ]
        self._output_names = [tensor.name for tensor in self.outputs]
        self._prepared: Shapes | None = None
        self._dtype = self._dtypes[0] if self._dtypes else None
        self._same: tuple[int, ...] | None = None  # the one float input's shape, when that is all there is to see to
        self._is_plain = len(self.outputs) == 1 and self._dequantizers == [None]

    def another(self) -> "Binding":
        """A binding of a second session, for another thread."""
        return Binding(self._session.another(), self.inputs, self.outputs)

    def run(self, x: Inputs, out: Outputs | None = None) -> Outputs:
        """Predict a batch; see `Model.predict`. Raises InputError, and whatever the engine does."""
        keep = out is None and self._is_plain
        if type(x) is ndarray and x.shape == self._same and x.dtype == self._dtype:
            results = self._run_session((x,), keep)
        else:
            results = self._run_checked(x, keep)
        if keep:
            return results[0]
        if out is not None:
            return self._fill(results, out)
        answers = self._answers(results)
        return answers[0] if len(answers) == 1 else dict(zip(self._output_names, answers, strict=True))

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

    def _run_checked(self, x: Inputs, keep: bool) -> Sequence[Array]:
        """Check, prepare where the shapes are new, and run; the engine's outputs in its own order."""
        self._same = None
        arrays = self.check(x)
        batch = self._fixed_batch
        if batch is not None and arrays[0].shape[0] != batch:
            return self._run_in_parts(arrays, batch)
        results = self._run_prepared(arrays, keep)
        if isinstance(x, np.ndarray) and self._quantizers == [None]:
            self._same = x.shape
        return results

    def _run_in_parts(self, arrays: Sequence[Array], batch: int) -> list[Array]:
        """Run any number of samples on a session that takes exactly `batch`; the last part is filled up."""
        samples = arrays[0].shape[0]
        parts: list[list[Array]] = []
        for start in range(0, samples, batch):
            part = [array[start : start + batch] for array in arrays]
            missing = batch - part[0].shape[0]
            if missing:
                part = [np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) for array in part]
            parts.append([result[: batch - missing] for result in self._run_prepared(part, keep=True)])
        return [np.concatenate(results) for results in zip(*parts, strict=True)]

    def _run_prepared(self, arrays: Sequence[Array], keep: bool) -> Sequence[Array]:
        feeds = [arrays[place] for place in self._input_order]
        shapes = tuple(array.shape for array in feeds)
        if shapes != self._prepared:
            self._prepared = None  # unknown, should preparing fail half-way
            self._session.prepare(shapes)
            self._prepared = shapes
        return self._run_session(
            [
                array if quantizer is None else quantizer(array)
                for array, quantizer in zip(feeds, self._quantizers, strict=True)
            ],
            keep,
        )

    def _answers(self, results: Sequence[Array]) -> list[Array]:
        """The outputs in the manifest's order and dtypes, as arrays of their own."""
        return [
            results[place].copy() if dequantizer is None else dequantizer(results[place])
            for place, dequantizer in zip(self._output_order, self._dequantizers, strict=True)
        ]

    def _fill(self, results: Sequence[Array], out: Outputs) -> Outputs:
        """Write the outputs into the caller's arrays. Raises InputError when one does not fit."""
        targets = {self.outputs[0].name: out} if isinstance(out, np.ndarray) else out
        names = sorted(self._output_names)
        if not isinstance(targets, Mapping):
            raise InputError(f"out= needs an array, or a dict of them for {names}; got {type(targets).__name__}.")
        if set(targets) != set(names):
            raise InputError(f"out= needs arrays for {names}, got {sorted(map(str, targets))}.")
        shapes = [results[place].shape for place in self._output_order]
        for tensor, shape in zip(self.outputs, shapes, strict=True):
            _check_target(targets[tensor.name], tensor, shape)
        for place, tensor, dequantizer in zip(self._output_order, self.outputs, self._dequantizers, strict=True):
            if dequantizer is None:
                np.copyto(targets[tensor.name], results[place])
            else:
                dequantizer(results[place], targets[tensor.name])
        return out

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


def _check_target(target: object, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Raises InputError when an array of the caller's cannot take an output."""
    expected = f"out= for {tensor.name!r} must be writable {tensor.dtype} of shape {shape}"
    if not isinstance(target, np.ndarray):
        raise InputError(f"{expected}, got a {type(target).__name__}.")
    if target.shape != shape or target.dtype != np.dtype(tensor.dtype) or not target.flags.writeable:
        state = "" if target.flags.writeable else "read-only "
        raise InputError(f"{expected}, got {state}{target.dtype.name} of shape {target.shape}.")


def _mismatch(tensor: Tensor, array: object) -> str:
    """Say what was expected of an input, what came, and how to mend it."""
    shape = ", ".join("any" if size is None else str(size) for size in tensor.shape)
    expected = f"Input {tensor.name!r} expects {tensor.dtype} of shape ({shape})"
    if not isinstance(array, np.ndarray):
        return f"{expected}, but a {type(array).__name__} came. Make it with np.asarray(x, {tensor.dtype!r})."
    order = "" if array.dtype.isnative else "byte-swapped "
    came = f"{expected}, but {order}{array.dtype.name} of shape {array.shape} came."
    if array.ndim == len(tensor.shape) - 1:
        return f"{came} Add the batch axis with x[None]."
    if array.dtype != np.dtype(tensor.dtype):
        return f"{came} Convert it with x.astype({tensor.dtype!r})."
    if 0 in array.shape:
        return f"{came} Pass at least one sample."
    return came
