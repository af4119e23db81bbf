"""What a `.tflite` file must give: onnxruntime's answers on random inputs, asked of the ONNX model that came."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edgeward_runtimes.errors import ConversionError, EdgewardError, one_line
from edgeward_runtimes.manifest import Tensor
from edgeward_runtimes.model import Model

# Of an output's largest value: different kernels differ by a hundredth of that, wrong layouts by thousands. Or so many
# times what onnxruntime's own kernels differ by: some models are that sensitive on random inputs.
TOLERANCE = 1e-4
_ROUNDING = 5.0
_SAMPLES = 3
# The largest integers to try, so that indices into small tables are within them.
_LIMITS = (1024, 256, 128, 64, 32, 16, 8, 4, 2, 1)

Arrays = dict[str, NDArray[Any]]


class Reference:
    """Inputs with the ONNX model's answers, for one sample and for several where its batch is free.

    Attributes:
        has_free_batch: Whether several samples can be asked for at once.
        shapes: Each output's shape for one sample, or for the batch that the model has.
    """

    def __init__(
        self, onnx_path: Path, has_free_batch: bool, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]
    ) -> None:
        """Ask onnxruntime. Raises ConversionError when it cannot run the model at all."""
        self._path = onnx_path
        self._session = _session(onnx_path, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
        self._inputs, self._outputs = inputs, outputs
        self._pairs = [self._asked(1)]
        self.shapes = {name: array.shape for name, array in self._pairs[0][1].items()}
        self.has_free_batch = has_free_batch
        if has_free_batch:
            try:
                self._pairs.append(self._asked(_SAMPLES))
            except ConversionError:  # free by its shapes, but not within
                self.has_free_batch = False

    def check(self, content: bytes) -> None:
        """Run a `.tflite` file as the device would. Raises ConversionError that says how it differs."""
        with tempfile.TemporaryDirectory(prefix="edgeward-onnx2tf-") as folder:
            path = Path(folder) / "model.tflite"
            path.write_bytes(content)
            try:
                with Model.of(path, "litert", self._inputs, self._outputs) as model:
                    for given, expected in self._pairs:
                        self._compare(given, expected, model.predict(given))
            except ConversionError:
                raise
            except (EdgewardError, RuntimeError, ValueError) as error:
                raise ConversionError(f"LiteRT cannot run what came of it: {one_line(error)}") from error

    def _asked(self, batch: int) -> tuple[Arrays, Arrays]:
        """Random inputs with their answers."""
        names = [tensor.name for tensor in self._outputs]
        reason = ""
        for limit in _LIMITS:
            given = self._random(batch, limit)
            try:
                answers = self._session.run(names, given)
            except Exception as error:  # onnxruntime's own, of no common class
                reason = one_line(error)
                continue
            return given, dict(zip(names, answers, strict=True))
        raise ConversionError(f"onnxruntime cannot run the model on random inputs: {reason}")

    def _random(self, batch: int, limit: int) -> Arrays:
        generator = np.random.default_rng(batch)
        arrays = {}
        for declared in self._session.get_inputs():
            shape = [size if isinstance(size, int) and size > 0 else batch for size in declared.shape]
            dtype = np.dtype(next(tensor.dtype for tensor in self._inputs if tensor.name == declared.name))
            if dtype.kind == "f":
                arrays[declared.name] = generator.normal(size=shape).astype(dtype)
            else:
                arrays[declared.name] = generator.integers(0, 2 if dtype.kind == "b" else limit, shape).astype(dtype)
        return arrays

    def _compare(self, given: Arrays, expected: Arrays, predicted: Any) -> None:
        answers = predicted if isinstance(predicted, dict) else {self._outputs[0].name: predicted}
        for name, array in expected.items():
            answer = answers[name]
            if answer.shape != array.shape:
                raise ConversionError(f"output {name!r} came with shape {answer.shape}; expected {array.shape}")
            error = _error(array, answer)
            if error > TOLERANCE and error > _ROUNDING * self._rounding(name, given, array):
                raise ConversionError(f"output {name!r} is off by {error:.1e} of its largest value")

    def _rounding(self, name: str, given: Arrays, expected: NDArray[Any]) -> float:
        """What an output differs by when onnxruntime optimizes the model."""
        session = _session(self._path, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)
        return _error(expected, session.run([name], given)[0])


def _session(path: Path, level: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = level
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _error(expected: NDArray[Any], given: NDArray[Any]) -> float:
    """The largest difference, in parts of the largest finite value expected; infinite where finiteness differs."""
    expected, given = expected.astype(np.float64), given.astype(np.float64)
    finite = np.isfinite(expected)
    if not np.array_equal(expected[~finite], given[~finite], equal_nan=True) or not np.isfinite(given[finite]).all():
        return float("inf")
    if not finite.any():
        return 0.0
    scale = max(float(np.abs(expected[finite]).max()), float(np.finfo(np.float32).tiny))
    return float(np.abs(expected[finite] - given[finite]).max() / scale)
