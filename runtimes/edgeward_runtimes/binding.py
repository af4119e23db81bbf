"""Between the caller's tensors and an engine's: checks, order, quantized I/O, batches of any size.

A binding is made once for an opened session. The public tensors are the manifest's; the engine's may stand in
another order, be quantized integers, or take a fixed batch. All of that ends here: above it, floats and any
batch; below it, exactly what the artifact wants.

What is checked and prepared for one call holds for the next of the same shapes. With one input that goes to the engine
as it comes, "the same" is seen by comparing its shape and dtype. Where its output comes back as it is, too, and the
session has a function from the one to the other, the binding offers that as `direct`, and the model calls it by itself.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray

from edgeward_runtimes import engines
from edgeward_runtimes.engines import Direct, Port, Session
from edgeward_runtimes.errors import EngineError, InputError
from edgeward_runtimes.manifest import Tensor

if TYPE_CHECKING:
    from edgeward_runtimes.quantized import Dequantizer, Quantizer

Array = engines.Array
Inputs = Array | Mapping[str, Array]
Outputs = Array | dict[str, Array]
Shapes = tuple[tuple[int, ...], ...]


class Binding:
    """One session behind the manifest's tensors. For one thread at a time: the model hands it out.

    Attributes:
        direct: Predicts, for an array of just this `shape` and `dtype`. No array has the shape None.
    """

    shape: tuple[int, ...] | None = None
    direct: Direct

    def __init__(self, session: Session, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        self.placement = session.placement
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self._session, self._run_session = session, session.run
        self._input_order = _match("input", session.inputs, self.inputs)
        self._output_order = _match("output", self.outputs, session.outputs)
        fed = [(port, self.inputs[place]) for port, place in zip(session.inputs, self._input_order, strict=True)]
        given = [(session.outputs[at], tensor) for at, tensor in zip(self._output_order, self.outputs, strict=True)]
        self._fixed_batch = _fixed_batch(fed)
        self._quantizers = [_quantizer(port, tensor) for port, tensor in fed]
        self._dequantizers = [_dequantizer(port, tensor) for port, tensor in given]
        self._dtypes = [np.dtype(tensor.dtype) for tensor in self.inputs]
        self._ranks = [len(tensor.shape) for tensor in self.inputs]
        self._output_names = [tensor.name for tensor in self.outputs]
        self._is_plain = len(self.outputs) == 1 and self._dequantizers == [None]
        self.dtype = self._dtypes[0] if self._dtypes else None
        self._prepared: Shapes | None = None
        self._direct: Direct | None = None
        self._same: tuple[int, ...] | None = None  # the shape of a lone input that goes to the engine as it comes

    def another(self) -> "Binding":
        """A binding of a second session, for another thread."""
        return Binding(self._session.another(), self.inputs, self.outputs)

    def run(self, x: Inputs, out: Outputs | None = None) -> Outputs:
        """Predict a batch; see `Model.predict`. Raises InputError, and whatever the engine does."""
        keep = out is None and self._is_plain
        if type(x) is ndarray and x.shape == self._same and x.dtype == self.dtype:
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
        self._same = self.shape = None
        arrays = self.check(x)
        batch = self._fixed_batch
        if batch is not None and self._samples(arrays) != batch:
            return self._run_in_parts(arrays, batch)
        results = self._run_prepared(arrays, keep)
        if isinstance(x, np.ndarray) and self._quantizers == [None]:
            self._same = x.shape
            if self._is_plain and self._direct is not None:
                self.shape, self.direct = x.shape, self._direct
        return results

    def _run_in_parts(self, arrays: Sequence[Array], batch: int) -> list[Array]:
        """Run any number of samples on a session that takes exactly `batch`; the last part is filled up."""
        samples = self._samples(arrays)
        for tensor in self.outputs:
            if not _is_batched(tensor):
                raise InputError(
                    f"This variant takes {batch} samples at a time, and its output {tensor.name!r} has no batch axis "
                    f"to put more together along; {samples} came. Pass {batch}, or load another variant."
                )
        parts: list[list[Array]] = []
        for start in range(0, samples, batch):
            missing = max(0, start + batch - samples)
            part = [
                _part(array, start, batch, missing) if _is_batched(tensor) else array
                for tensor, array in zip(self.inputs, arrays, strict=True)
            ]
            results = self._run_prepared(part, keep=True)
            if any(result.shape[:1] != (batch,) for result in results):
                raise EngineError(f"its outputs do not have the {batch} samples that it takes along the first axis")
            parts.append([result[: batch - missing] for result in results])
        return [np.concatenate(results) for results in zip(*parts, strict=True)]

    def _run_prepared(self, arrays: Sequence[Array], keep: bool) -> Sequence[Array]:
        feeds = [arrays[place] for place in self._input_order]
        shapes = tuple(array.shape for array in feeds)
        if shapes != self._prepared:
            self._prepared = self._direct = None  # unknown, should preparing fail half-way
            self._direct = self._session.prepare(shapes)
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
        sizes = {
            tensor.name: array.shape[0]
            for tensor, array in zip(self.inputs, arrays, strict=True)
            if _is_batched(tensor)
        }
        if len(set(sizes.values())) > 1:
            raise InputError(f"The inputs' batch sizes differ: {sizes}.")

    def _samples(self, arrays: Sequence[Array]) -> int:
        """The batch size of checked inputs, of which one at least has a free batch axis."""
        batched = (array for tensor, array in zip(self.inputs, arrays, strict=True) if _is_batched(tensor))
        return len(next(batched))

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


def _fixed_batch(fed: Sequence[tuple[Port, Tensor]]) -> int | None:
    """The one batch size that the artifact takes where the manifest allows any, or None. Raises EngineError."""
    sizes = {port.shape[0] for port, tensor in fed if _is_batched(tensor) and port.shape} - {None}
    if len(sizes) > 1:
        raise EngineError(f"The artifact's inputs take batches of different sizes: {sorted(map(str, sizes))}.")
    return next(iter(sizes), None)


def _quantizer(port: Port, tensor: Tensor) -> "Quantizer | None":
    """What makes a port's values of a public tensor's, or None when they are alike."""
    if np.dtype(port.dtype) == np.dtype(tensor.dtype):
        return None
    from edgeward_runtimes.quantized import Quantizer

    return Quantizer(port, tensor)


def _dequantizer(port: Port, tensor: Tensor) -> "Dequantizer | None":
    """What makes a public tensor's values of a port's, or None when they are alike."""
    if np.dtype(port.dtype) == np.dtype(tensor.dtype):
        return None
    from edgeward_runtimes.quantized import Dequantizer

    return Dequantizer(port, tensor)


def _is_batched(tensor: Tensor) -> bool:
    """Whether the manifest leaves the size of the first axis open."""
    return bool(tensor.shape) and tensor.shape[0] is None


def _part(array: Array, start: int, batch: int, missing: int) -> Array:
    """Samples from `start` on; the last is repeated for those that are missing."""
    part = array[start : start + batch]
    return np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part


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
