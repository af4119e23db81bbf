"""LiteRT (TensorFlow Lite): `.tflite` files through ai-edge-litert, else tflite-runtime, else TensorFlow."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeward_runtimes.engines import Port

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    try:
        from tflite_runtime.interpreter import Interpreter
    except ImportError:
        from tensorflow.lite import Interpreter


class LiteRT:
    """The engine; see `edgeward_runtimes.engines.Engine`."""

    def open(self, artifact: Path, threads: int | None) -> "LiteRTSession":
        """Load a `.tflite` file."""
        return LiteRTSession(Interpreter(str(artifact), num_threads=threads))


class LiteRTSession:
    """One interpreter. Tensors are named by the file's signature where it has one."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        inputs, outputs = _details(interpreter)
        self.inputs = tuple(_port(name, detail) for name, detail in inputs.items())
        self.outputs = tuple(_port(name, detail) for name, detail in outputs.items())
        self._input_indices = [detail["index"] for detail in inputs.values()]
        self._output_indices = [detail["index"] for detail in outputs.values()]
        self._shapes = [tuple(detail["shape"]) for detail in inputs.values()]
        interpreter.allocate_tensors()

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run once, resizing the graph first when the batch differs from the last one."""
        interpreter = self._interpreter
        shapes = [array.shape for array in inputs]
        if shapes != self._shapes:
            self._resize(shapes)
        for index, array in zip(self._input_indices, inputs, strict=True):
            interpreter.set_tensor(index, array)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in self._output_indices]

    def _resize(self, shapes: list[tuple[int, ...]]) -> None:
        self._shapes = []  # unknown, should the resize fail half-way
        for index, shape in zip(self._input_indices, shapes, strict=True):
            self._interpreter.resize_tensor_input(index, shape)
        self._interpreter.allocate_tensors()
        self._shapes = shapes


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
