"""ONNX int8 by onnxruntime.quantization: QDQ format, weights per channel, activations uint8."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from edgeward_converters.data import Arrays
from edgeward_converters.quantizers import samples
from edgeward_runtimes.manifest import Quantization


def quantize(float_artifact: Path, artifact: Path, calibration: Arrays | None) -> tuple[list[Path], Quantization]:
    """Write an int8 `.onnx`; without calibration data activations are quantized while running."""
    prepared = artifact.with_suffix(".prepared.onnx")
    quant_pre_process(str(float_artifact), str(prepared), skip_symbolic_shape=True)
    if calibration is None:
        # Convolutions on signed weights have no integer kernel in ONNX Runtime when quantized dynamically.
        quantize_dynamic(str(prepared), str(artifact), weight_type=QuantType.QUInt8)
        return [artifact], "dynamic"
    quantize_static(
        str(prepared),
        str(artifact),
        _Reader(calibration),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return [artifact], "static"


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands over one sample after another, as the library wants it."""

    def __init__(self, calibration: Arrays) -> None:
        self._samples: Iterator[Arrays] = iter(samples(calibration))

    def get_next(self) -> dict[str, Any] | None:
        """The next sample, or None at the end."""
        return next(self._samples, None)
