"""OpenVINO: `.xml` with its `.bin` on the CPU, or on Intel's GPU or NPU.

Inputs are copied into tensors bound once for given shapes, which halves the cost of a call for a small model.
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeward_runtimes.engines import LARGE_BYTES, Array, Options, Placement, Port, StrPath
from edgeward_runtimes.engines.accelerators import settle, warning
from edgeward_runtimes.errors import one_line

# With this module in reach, importing OpenVINO reports to its maker over the network: no device asked for that.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # noqa: E402

_DEVICES = {"gpu": "GPU", "npu": "NPU"}


class OpenVino:
    """The engine; see `edgeward_runtimes.engines.Engine`."""

    def open(self, artifact: StrPath, options: Options) -> "OpenVinoSession":
        """Load an `.xml` file."""
        core = openvino.Core()
        model = core.read_model(str(artifact))
        available = {device.partition(".")[0] for device in core.available_devices}
        usable, refused = settle(options.accelerators, _DEVICES, available)
        for name in usable:
            try:
                placement = Placement((name,), warning("openvino", refused, (name,)))
                return OpenVinoSession(core, model, _DEVICES[name], {"PERFORMANCE_HINT": "LATENCY"}, placement)
            except RuntimeError as error:  # the device may lack an operator or memory
                refused.append(f"{name} cannot compile it ({one_line(error)})")
        # On CPUs with bf16 the default precision hint changes a float32 model's answers (0.1 points on ResNet8).
        config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if options.threads is not None:
            # Pinned, the models that several threads compiled would all sit on the same cores.
            config |= {"INFERENCE_NUM_THREADS": options.threads, "ENABLE_CPU_PINNING": False}
        return OpenVinoSession(core, model, "CPU", config, Placement(warning=warning("openvino", refused, ("cpu",))))


class OpenVinoSession:
    """One compiled model with one infer request.

    Requests of one compiled model queue behind each other where the hint is latency, so each thread compiles its own.
    """

    def __init__(self, core: Any, model: Any, device: str, config: dict[str, Any], placement: Placement) -> None:
        self._made_of = (core, model, device, config, placement)
        self.placement = placement
        compiled = core.compile_model(model, device, config)
        self.inputs = tuple(_port(node) for node in compiled.inputs)
        self.outputs = tuple(_port(node) for node in compiled.outputs)
        self._request = compiled.create_infer_request()
        self._buffers: list[Array] = []
        self._is_large: list[bool] = []

    def prepare(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        """Bind input tensors of these shapes."""
        self._buffers = [
            self._bind_input(place, np.empty(shape, port.dtype))
            for place, (shape, port) in enumerate(zip(shapes, self.inputs, strict=True))
        ]
        self._is_large = [buffer.nbytes > LARGE_BYTES for buffer in self._buffers]

    def run(self, inputs: Sequence[Array], keep: bool) -> tuple[Array, ...]:
        """Run once."""
        for place, array in enumerate(inputs):
            if self._is_large[place]:  # bound where it lies, as copying costs more; a read-only array cannot be
                self._buffers[place] = self._bind_input(place, array if array.flags.writeable else array.copy())
            else:
                self._buffers[place][...] = array
        results: tuple[Array, ...] = self._request.infer(None, share_outputs=not keep).to_tuple()
        return results

    def another(self) -> "OpenVinoSession":
        """Compile the model, which lies in memory, once more."""
        return OpenVinoSession(*self._made_of)

    def _bind_input(self, place: int, array: Array) -> Array:
        """Have the next runs read an input from this array; whoever calls keeps it alive."""
        array = np.ascontiguousarray(array)
        self._request.set_input_tensor(place, openvino.Tensor(array, shared_memory=True))
        return array


def _port(node: Any) -> Port:
    shape = tuple(size.get_length() if size.is_static else None for size in node.get_partial_shape())
    return Port(node.get_any_name(), shape, np.dtype(node.get_element_type().to_dtype()).name)
