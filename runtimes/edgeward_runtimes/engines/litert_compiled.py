"""LiteRT on a GPU or an NPU, through its CompiledModel; a session as `litert`'s, for a batch of the file's own size."""

from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.hardware_accelerator import HardwareAccelerator

from edgeward_runtimes.engines import Array, Placement, Port

_ACCELERATORS = {"gpu": HardwareAccelerator.GPU, "npu": HardwareAccelerator.NPU, "cpu": HardwareAccelerator.CPU}


class CompiledSession:
    """One compiled model. What the accelerator does not take of the graph, the CPU runs."""

    def __init__(self, file: BinaryIO, accelerator: str) -> None:
        """Compile; raises RuntimeError when the accelerator is not here, or takes nothing of an NPU's graph."""
        self._made_of = (file, accelerator)
        wanted = _ACCELERATORS[accelerator] | HardwareAccelerator.CPU
        self._model = CompiledModel.from_file(f"/dev/fd/{file.fileno()}", hardware_accel=wanted)
        whole = self._model.is_fully_accelerated()
        if accelerator == "npu" and not whole:  # without its driver LiteRT says nothing, and runs on the CPU
            raise RuntimeError("it did not take the whole graph")
        self.placement = Placement((accelerator,) if whole or accelerator == "cpu" else (accelerator, "cpu"))
        signatures = self._model.get_signature_list()
        key = next(iter(signatures))
        self._index = self._model.get_signature_index(key)
        inputs, outputs = self._model.get_input_tensor_details(key), self._model.get_output_tensor_details(key)
        self.inputs = tuple(_port(name, inputs[name]) for name in signatures[key]["inputs"])
        self.outputs = tuple(_port(name, outputs[name]) for name in signatures[key]["outputs"])
        self._shapes = [tuple(outputs[port.name]["shape"]) for port in self.outputs]
        self._input_buffers = self._model.create_input_buffers(self._index)
        self._output_buffers = self._model.create_output_buffers(self._index)

    def prepare(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        """Nothing: the ports' shapes are fixed."""

    def run(self, inputs: Sequence[Array], keep: bool) -> list[Array]:
        """Run once."""
        for buffer, array in zip(self._input_buffers, inputs, strict=True):
            buffer.write(np.ascontiguousarray(array))
        self._model.run_by_index(self._index, self._input_buffers, self._output_buffers)
        return [
            buffer.read(int(np.prod(shape)), np.dtype(port.dtype).type).reshape(shape)
            for buffer, port, shape in zip(self._output_buffers, self.outputs, self._shapes, strict=True)
        ]

    def another(self) -> "CompiledSession":
        """Compile the file once more."""
        return CompiledSession(*self._made_of)


def _port(name: str, detail: Any) -> Port:
    return Port(name, tuple(int(size) for size in detail["shape"]), np.dtype(detail["dtype"]).name)
