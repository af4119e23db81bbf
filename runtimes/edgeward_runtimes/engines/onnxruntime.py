"""ONNX Runtime: `.onnx` files on the CPU."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from edgeward_runtimes.engines import Port

_DTYPES = {
    "float": "float32",
    "double": "float64",
    "float16": "float16",
    "bool": "bool",
    **{f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
_ERRORS_ONLY = 3


class OnnxRuntime:
    """The engine; see `edgeward_runtimes.engines.Engine`."""

    def open(self, artifact: Path, threads: int | None) -> "OnnxRuntimeSession":
        """Load an `.onnx` file."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        if threads is not None:
            options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(artifact), options, providers=["CPUExecutionProvider"])
        return OnnxRuntimeSession(session)


class OnnxRuntimeSession:
    """One inference session."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs = tuple(_port(node) for node in session.get_inputs())
        self.outputs = tuple(_port(node) for node in session.get_outputs())
        self._input_names = [port.name for port in self.inputs]
        self._output_names = [port.name for port in self.outputs]

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run once."""
        feeds = dict(zip(self._input_names, inputs, strict=True))
        outputs: list[NDArray[Any]] = self._session.run(self._output_names, feeds)
        return outputs


def _port(node: Any) -> Port:
    kind = node.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return Port(node.name, shape, _DTYPES.get(kind, kind))
