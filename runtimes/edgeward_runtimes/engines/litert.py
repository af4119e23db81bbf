"""LiteRT (TensorFlow Lite): `.tflite` files through ai-edge-litert, else tflite-runtime, else TensorFlow.

Of the ways to call it, `set_tensor`, `invoke` and a tensor's view cost least: its CompiledModel takes three times as
long for a small model (docs/performance.md). Each of those is a Python method around one of a native object that the
interpreter keeps, and after an invoke that has emptied the processor's caches it costs a microsecond. `_Calls` takes
the native ones where the interpreter has them, and the public ones where it does not.
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, BinaryIO

import numpy as np

from edgeward_runtimes.engines import Array, Direct, Options, Placement, Port, Session, StrPath

try:
    from ai_edge_litert.interpreter import Interpreter, load_delegate
except ImportError:
    try:
        from tflite_runtime.interpreter import Interpreter, load_delegate
    except ImportError:
        import tensorflow

        Interpreter, load_delegate = tensorflow.lite.Interpreter, tensorflow.lite.experimental.load_delegate


_COMPILED = ("gpu", "npu")
_NATIVE = ("ResizeInputTensor", "AllocateTensors", "SetTensor", "Invoke", "GetTensor", "tensor")


class LiteRT:
    """The engine; see `edgeward_runtimes.engines.Engine`."""

    def open(self, artifact: StrPath, options: Options) -> Session:
        """Map a `.tflite` file into memory."""
        file = open(artifact, "rb")  # noqa: SIM115 - the session keeps it; pathlib takes 4 ms to import
        if options.accelerators:
            return _accelerated(file, options)
        return LiteRTSession(file, options.threads, Placement())


def _accelerated(file: BinaryIO, options: Options) -> Session:
    """A session on the first accelerator that takes the artifact, else on the CPU."""
    from edgeward_runtimes.engines.accelerators import warning

    refused = []
    for accelerator in options.accelerators:
        try:
            session = _on(accelerator, file, options.threads)
        except (ImportError, OSError, RuntimeError, ValueError) as error:  # no such device, driver or library here
            reason = " ".join(str(error).split())[-200:] or "no reason given"
            refused.append(f"{accelerator} cannot run it ({reason})")
            continue
        if session is not None:
            return session
    return LiteRTSession(file, options.threads, Placement(warning=warning("litert", refused, ("cpu",))))


def _on(accelerator: str, file: BinaryIO, threads: int | None) -> Session | None:
    """A session on an accelerator, or None when it is meant for another engine."""
    from edgeward_runtimes.engines.accelerators import DELEGATE

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
        inputs, outputs = _details(interpreter)
        self.inputs = tuple(_port(name, detail) for name, detail in inputs.items())
        self.outputs = tuple(_port(name, detail) for name, detail in outputs.items())
        self._input_indices = [detail["index"] for detail in inputs.values()]
        self._output_indices = [detail["index"] for detail in outputs.values()]
        self._shapes = tuple(tuple(map(int, detail["shape"])) for detail in inputs.values())
        self._calls = _Calls(interpreter)
        self._calls.allocate()

    def prepare(self, shapes: tuple[tuple[int, ...], ...]) -> Direct | None:
        """Resize the graph where the shapes are not those of the last run."""
        if shapes != self._shapes:
            self._shapes = ()  # unknown, should the resize fail half-way
            for index, shape in zip(self._input_indices, shapes, strict=True):
                self._calls.resize(index, shape)
            self._calls.allocate()
            self._shapes = shapes
        if len(self._input_indices) == len(self._output_indices) == 1:
            return self._calls.direct(self._input_indices[0], self._output_indices[0])
        return None

    def run(self, inputs: Sequence[Array], keep: bool) -> Sequence[Array]:
        """Run once."""
        calls = self._calls
        for index, array in zip(self._input_indices, inputs, strict=True):
            calls.set_tensor(index, array)
        calls.invoke()
        take = calls.get_tensor if keep else calls.view
        return [take(index) for index in self._output_indices]

    def another(self) -> "LiteRTSession":
        """A second interpreter over the same mapped file."""
        return LiteRTSession(*self._made_of)


class _Calls:
    """The calls of an interpreter, by tensor index: the native object's own, or the interpreter's around them."""

    def __init__(self, interpreter: Any) -> None:
        native = getattr(interpreter, "_interpreter", None)
        if all(hasattr(native, name) for name in _NATIVE):
            resize, allocate, set_tensor, invoke, get_tensor, tensor = (getattr(native, name) for name in _NATIVE)
            resize, view = partial(_resize, resize), partial(tensor, native)
        else:
            resize, allocate = interpreter.resize_tensor_input, interpreter.allocate_tensors
            set_tensor, invoke, get_tensor = interpreter.set_tensor, interpreter.invoke, interpreter.get_tensor
            view = partial(_view, interpreter)
        self.resize: Callable[[int, tuple[int, ...]], object] = resize
        self.allocate: Callable[[], object] = allocate
        self.set_tensor: Callable[[int, Array], object] = set_tensor
        self.invoke: Callable[[], object] = invoke
        self.get_tensor: Callable[[int], Array] = get_tensor
        self.view: Callable[[int], Array] = view

    def direct(self, input_index: int, output_index: int) -> Direct:
        """One input, one output, nothing to look up."""
        set_tensor, invoke, get_tensor = self.set_tensor, self.invoke, self.get_tensor

        def run(array: Array) -> Array:
            set_tensor(input_index, array)
            invoke()
            return get_tensor(output_index)

        return run


def _resize(native: Callable[[int, Array, bool], object], index: int, shape: tuple[int, ...]) -> None:
    native(index, np.array(shape, np.int32), False)


def _view(interpreter: Any, index: int) -> Array:
    view: Array = interpreter.tensor(index)()
    return view


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
