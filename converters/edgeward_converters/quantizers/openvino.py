"""OpenVINO by NNCF: post-training quantization with bias correction, or of the weights alone.

OpenVINO's CPU plugin quantizes no activations of convolutions while running, and has no 16-bit ones.

- fp16 stores half floats; what it computes in is the device's choice, on a CPU float32.
- int4: matrix products and embeddings, one scale per channel; convolutions in int8.
"""

from pathlib import Path
from typing import Any

import nncf
import openvino

from edgeward_converters.data import Arrays
from edgeward_converters.exporters.openvino import save
from edgeward_converters.quantizers import Written
from edgeward_converters.quantizers.contents import Constant
from edgeward_converters.quantizers.corrected import static
from edgeward_converters.quantizers.ladder import Rung
from edgeward_converters.quantizers.openvino_weights import models, store_in_8_bits
from edgeward_runtimes.errors import ConversionError

_DTYPES = {"i8": "int8", "u8": "uint8", "i4": "int4", "u4": "uint4", "f16": "float16", "bf16": "bfloat16"}
_DTYPES |= {"f32": "float32", "f64": "float64"}


def quantize(float_artifact: Path, artifact: Path, rung: Rung, calibration: list[Arrays] | None) -> Written:
    """Write an OpenVINO model of another precision. Raises ConversionError."""
    model = openvino.Core().read_model(str(float_artifact))
    if rung.precision == "fp16":
        openvino.save_model(model, str(artifact), compress_to_fp16=True)
        return [artifact, artifact.with_suffix(".bin")], "weights"
    if rung.precision == "int16x8":
        raise ConversionError("OpenVINO has no 16-bit activations")
    if rung.way == "dynamic":
        raise ConversionError("OpenVINO quantizes no activations while running")
    if rung.way == "static":
        if calibration is None:
            raise ConversionError("needs calibration data")
        return save(static(model, calibration, has_attention=_has_attention(model)), artifact), "static"
    if rung.precision == "int4":
        mode = nncf.CompressWeightsMode.INT4_ASYM
        return save(
            nncf.compress_weights(model, mode=mode, ratio=1.0, group_size=-1, all_layers=True), artifact
        ), "weights"
    compressed = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)
    return save(store_in_8_bits(compressed), artifact), "weights"


def constants(artifact: Path) -> list[Constant]:
    """What is fixed in it."""
    return [
        Constant(_DTYPES.get(dtype, dtype), tuple(operation.get_output_shape(0)))
        for model in models(openvino.Core().read_model(str(artifact)))
        for operation in model.get_ops()
        if operation.get_type_name() == "Constant"
        for dtype in (operation.get_element_type().get_type_name(),)
    ]


def _has_attention(model: Any) -> bool:
    """Whether a softmax goes straight into a matrix product."""
    for operation in model.get_ops():
        if operation.get_type_name() == "ScaledDotProductAttention":
            return True
        if operation.get_type_name() == "Softmax":
            readers = {each.get_node().get_type_name() for each in operation.output(0).get_target_inputs()}
            if readers & {"MatMul", "Einsum"}:
                return True
    return False
