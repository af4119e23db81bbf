"""OpenVINO: `.xml` with its `.bin` on the CPU."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from edgeward_runtimes.engines import Port


class OpenVino:
    """The engine; see `edgeward_runtimes.engines.Engine`."""

    def open(self, artifact: Path, threads: int | None) -> "OpenVinoSession":
        """Load an `.xml` file."""
        # On CPUs with bf16 the default precision hint changes a float32 model's answers (0.1 points on ResNet8).
        config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = threads
        return OpenVinoSession(openvino.Core().compile_model(str(artifact), "CPU", config))


class OpenVinoSession:
    """One compiled model with one infer request."""

    def __init__(self, compiled: Any) -> None:
        self.inputs = tuple(_port(node) for node in compiled.inputs)
        self.outputs = tuple(_port(node) for node in compiled.outputs)
        self._request = compiled.create_infer_request()
        self._input_range = range(len(self.inputs))
        self._output_range = range(len(self.outputs))

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run once; outputs are copied, as the request reuses its own."""
        self._request.infer(dict(zip(self._input_range, inputs, strict=True)), share_inputs=True)
        return [np.array(self._request.get_output_tensor(index).data) for index in self._output_range]


def _port(node: Any) -> Port:
    shape = tuple(size.get_length() if size.is_static else None for size in node.get_partial_shape())
    return Port(node.get_any_name(), shape, np.dtype(node.get_element_type().to_dtype()).name)
