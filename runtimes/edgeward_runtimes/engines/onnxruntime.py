"""ONNX Runtime: `.onnx` files on the CPU, or through the execution providers of accelerators.

`InferenceSession.run` makes values and finds tensors by name on every call. A session here runs that way once for
given shapes, learns the outputs' from it, and from then on runs on buffers bound for good (IOBinding).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from edgeward_runtimes.engines import LARGE_BYTES, Array, Options, Placement, Port, StrPath
from edgeward_runtimes.engines.accelerators import settle, warning
from edgeward_runtimes.errors import one_line

_DTYPES = {
    "float": "float32",
    "double": "float64",
    "float16": "float16",
    "bool": "bool",
    **{f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
_CPU = "CPUExecutionProvider"
_PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
_ERRORS_ONLY = 3


class OnnxRuntime:
    """The engine; see `edgeward_runtimes.engines.Engine`."""

    def open(self, artifact: StrPath, options: Options) -> "OnnxRuntimeSession":
        """Load an `.onnx` file."""
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = _ERRORS_ONLY
        if options.threads is not None:
            settings.intra_op_num_threads = options.threads
        usable, refused = settle(options.accelerators, _PROVIDERS, onnxruntime.get_available_providers())
        providers = [(_PROVIDERS[name], _settings(name, options.cache)) for name in usable]
        try:
            session = onnxruntime.InferenceSession(str(artifact), settings, [*providers, (_CPU, {})])
        except Exception as error:  # a provider may be offered and yet fail: its driver or its libraries are missing
            if not providers:
                raise
            refused.append(f"{', '.join(usable)} cannot load it ({one_line(error)})")
            session = onnxruntime.InferenceSession(str(artifact), settings, [_CPU])
        return OnnxRuntimeSession(session, _placement(session.get_providers(), usable, refused))


def _settings(accelerator: str, cache: StrPath | None) -> dict[str, str]:
    """A provider's own options."""
    if accelerator != "tensorrt" or cache is None:
        return {}
    # Building an engine takes minutes: the install does it once, and every start finds it.
    Path(cache).mkdir(parents=True, exist_ok=True)
    return {
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(cache),
    }


def _placement(running: Sequence[str], wanted: Sequence[str], refused: list[str]) -> Placement:
    """Where the session runs, from the providers that it says it has."""
    names = {provider: name for name, provider in _PROVIDERS.items()}
    runs_on = (*(names[provider] for provider in running if provider in names), "cpu")
    if not refused:
        refused = [f"{name} did not load" for name in wanted if name not in runs_on]
    return Placement(runs_on, warning("onnxruntime", refused, runs_on))


class OnnxRuntimeSession:
    """One thread's buffers and binding on an inference session, which threads may share."""

    def __init__(self, session: Any, placement: Placement) -> None:
        self.placement = placement
        self._session = session
        self._run_bound = session.run_with_iobinding
        self.inputs = tuple(_port(node) for node in session.get_inputs())
        self.outputs = tuple(_port(node) for node in session.get_outputs())
        self._expected: list[tuple[int, ...]] | None = None
        self._binding: Any = None
        self._buffers: list[Array] = []
        self._is_large: list[bool] = []
        self._results: list[Array] = []

    def prepare(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        """Forget the buffers of other shapes, and work out what the outputs' shapes should be."""
        self._binding = None
        self._expected = _output_shapes(self._session, shapes)

    def run(self, inputs: Sequence[Array], keep: bool) -> list[Array]:
        """Run once."""
        if self._binding is None:
            return self._run_unbound(inputs)
        for place, array in enumerate(inputs):
            if self._is_large[place]:  # bound where it lies: copying it would cost more
                self._buffers[place] = self._bind_input(place, array)
            else:
                self._buffers[place][...] = array
        self._run_bound(self._binding)
        return [result.copy() for result in self._results] if keep else self._results

    def another(self) -> "OnnxRuntimeSession":
        """Other buffers on the same inference session."""
        return OnnxRuntimeSession(self._session, self.placement)

    def _run_unbound(self, inputs: Sequence[Array]) -> list[Array]:
        """Run in the plain way, and bind for the next time where the outputs' shapes can be relied on."""
        names = [port.name for port in self.inputs]
        results: list[Array] = self._session.run(None, dict(zip(names, inputs, strict=True)))
        if [result.shape for result in results] == self._expected:
            self._binding = self._session.io_binding()
            self._buffers = [self._bind_input(place, array.copy()) for place, array in enumerate(inputs)]
            self._is_large = [array.nbytes > LARGE_BYTES for array in inputs]
            self._results = [np.empty_like(result) for result in results]
            for port, result in zip(self.outputs, self._results, strict=True):
                value = onnxruntime.OrtValue.ortvalue_from_numpy(result)
                self._binding.bind_ortvalue_output(port.name, value)
        return results

    def _bind_input(self, place: int, array: Array) -> Array:
        """Have the next runs read an input from this array; whoever calls keeps it alive."""
        array = np.ascontiguousarray(array)
        self._binding.bind_ortvalue_input(self.inputs[place].name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        return array


def _output_shapes(session: Any, shapes: tuple[tuple[int, ...], ...]) -> list[tuple[int, ...]] | None:
    """The outputs' shapes as far as the graph tells: its named axes have the inputs' sizes. None when one is open."""
    sizes: dict[object, int] = {}
    for node, shape in zip(session.get_inputs(), shapes, strict=True):
        sizes.update((axis, size) for axis, size in zip(node.shape, shape, strict=True) if axis is not None)
    found = [
        tuple(axis if isinstance(axis, int) else sizes.get(axis, -1) for axis in node.shape)
        for node in session.get_outputs()
    ]
    return None if any(-1 in shape for shape in found) else found


def _port(node: Any) -> Port:
    kind = node.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return Port(node.name, shape, _DTYPES.get(kind, kind))
