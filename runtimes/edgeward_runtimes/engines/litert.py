"""LiteRT (TensorFlow Lite): `.tflite` files through ai-edge-litert, else tflite-runtime, else TensorFlow.

Of the ways to call it, `set_tensor`, `invoke` and a tensor's view cost least: its CompiledModel takes three times as
long for a small model (docs/performance.md).
"""

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from edgeward_runtimes.engines import Options, Placement, Port, Session
from edgeward_runtimes.engines.accelerators import DELEGATE, warning

try:
    from ai_edge_litert.interpreter import Interpreter, load_delegate
except ImportError:
    try:
        from tflite_runtime.interpreter import Interpreter, load_delegate
    except ImportError:
        import tensorflow

        Interpreter, load_delegate = tensorflow.lite.Interpreter, tensorflow.lite.experimental.load_delegate


_COMPILED = ("gpu", "npu")


class LiteRT:
    """The engine; see `edgeward_runtimes.engines.Engine`."""

    def open(self, artifact: Path, options: Options) -> Session:
        """Map a `.tflite` file into memory."""
        file = artifact.open("rb")
        refused = []
        for accelerator in options.accelerators:
            try:
                session = _accelerated(file, accelerator, options.threads)
            except (ImportError, OSError, RuntimeError, ValueError) as error:  # no such device, driver or library here
                refused.append(
                    f"{accelerator} cannot run it ({' '.join(str(error).split())[-200:] or 'no reason given'})"
                )
                continue
            if session is not None:
                return session
        return LiteRTSession(file, options.threads, Placement(warning=warning("litert", refused, ("cpu",))))


def _accelerated(file: BinaryIO, accelerator: str, threads: int | None) -> Session | None:
    """A session on an accelerator, or None when it is meant for another engine."""
    if accelerator in _COMPILED:
        from edgeward_runtimes.engines.litert_compiled import CompiledSession

        return CompiledSession(file, accelerator)
    if accelerator.startswith(DELEGATE):
        return LiteRTSession(file, threads, Placement((accelerator, "cpu")), accelerator.removeprefix(DELEGATE))
    return None


class LiteRTSession:
    """One interpreter. Tensors are named by the file's signature where it has one."""

    def __init__(self, file: BinaryIO, threads: int | None, placement: Placement, delegate: str | None = None) -> None:
        self._made_of = (file, threads, placement, delegate)
        self.placement = placement
        delegates = None if delegate is None else [_load_delegate(delegate)]
        # Through the open file and not its name, which may be gone when another thread needs its own interpreter.
        path = f"/dev/fd/{file.fileno()}"
        interpreter = Interpreter(path, num_threads=threads, experimental_delegates=delegates)
        self._interpreter = interpreter
        inputs, outputs = _details(interpreter)
        self.inputs = tuple(_port(name, detail) for name, detail in inputs.items())
        self.outputs = tuple(_port(name, detail) for name, detail in outputs.items())
        self._input_indices = [detail["index"] for detail in inputs.values()]
        self._output_indices = [detail["index"] for detail in outputs.values()]
        self._views = [interpreter.tensor(index) for index in self._output_indices]
        self._shapes = tuple(tuple(map(int, detail["shape"])) for detail in inputs.values())
        self._is_one_to_one = len(self._input_indices) == len(self._views) == 1
        self._first_input, self._first_output = self._input_indices[0], self._output_indices[0]
        self._first_view = self._views[0]
        self._set_tensor, self._invoke = interpreter.set_tensor, interpreter.invoke
        self._get_tensor = interpreter.get_tensor
        interpreter.allocate_tensors()

    def prepare(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        """Resize the graph where the shapes are not those of the last run."""
        if shapes == self._shapes:
            return
        self._shapes = ()  # unknown, should the resize fail half-way
        for index, shape in zip(self._input_indices, shapes, strict=True):
            self._interpreter.resize_tensor_input(index, shape)
        self._interpreter.allocate_tensors()
        self._shapes = shapes

    def run(self, inputs: Sequence[NDArray[Any]], keep: bool) -> Sequence[NDArray[Any]]:
        """Run once."""
        if self._is_one_to_one:  # the loops below cost as much as all the rest of a small model
            self._set_tensor(self._first_input, inputs[0])
            self._invoke()
            return (self._get_tensor(self._first_output) if keep else self._first_view(),)
        for index, array in zip(self._input_indices, inputs, strict=True):
            self._set_tensor(index, array)
        self._invoke()
        if keep:
            return [self._get_tensor(index) for index in self._output_indices]
        return [view() for view in self._views]

    def another(self) -> "LiteRTSession":
        """A second interpreter over the same mapped file."""
        return LiteRTSession(*self._made_of)


def _load_delegate(library: str) -> Any:
    ctypes.CDLL(library)  # a missing one is an OSError here; load_delegate would also leave noise behind
    return load_delegate(library)


def _details(interpreter: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Input and output details by public name."""
    signatures = interpreter.get_signature_list()
    if len(signatures) == 1:
        runner = interpreter.get_signature_runner(next(iter(signatures)))
        return runner.get_input_details(), runner.get_output_details()
    by_name = (
        {detail["name"]: detail for detail in details}
        for details in (interpreter.get_input_details(), interpreter.get_output_details())
    )
    inputs, outputs = by_name
    return inputs, outputs


def _port(name: str, detail: Any) -> Port:
    signature = detail.get("shape_signature", detail["shape"])
    shape = tuple(None if size < 0 else int(size) for size in signature)
    scale, zero_point = detail["quantization"]
    dtype = np.dtype(detail["dtype"]).name
    return Port(name, shape, dtype, float(scale) if scale else None, int(zero_point))
