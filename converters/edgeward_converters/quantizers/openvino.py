"""OpenVINO int8 by NNCF: post-training quantization with bias correction, or of the weights alone.

OpenVINO's CPU plugin quantizes no activations of convolutions while running, so without calibration data only the
weights are in int8, and `weights` is what the manifest says.
"""

from pathlib import Path

import nncf
import openvino

from edgeward_converters.data import Arrays
from edgeward_converters.exporters.openvino import save
from edgeward_converters.quantizers import samples
from edgeward_runtimes.manifest import Quantization


def quantize(float_artifact: Path, artifact: Path, calibration: Arrays | None) -> tuple[list[Path], Quantization]:
    """Write an int8 OpenVINO model."""
    model = openvino.Core().read_model(str(float_artifact))
    if calibration is None:
        compressed = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)
        return save(compressed, artifact), "weights"
    batches = samples(calibration)
    quantized = nncf.quantize(model, nncf.Dataset(batches), subset_size=len(batches))
    return save(quantized, artifact), "static"
