"""ONNX Runtime by onnxruntime.quantization and NNCF: QDQ format, weights per channel, activations uint8.

- fp16: the whole graph in half floats, inputs and outputs in float32. CPUs without half-float kernels get casts from
  ONNX Runtime itself and compute in float32: as fast as float32 there (ResNet8), half the size.
- static int8 with corrected biases is NNCF's: it undoes the mean shift that quantizing gives each channel.
- int16x8: the CPU has no 16-bit kernels and computes in float32 between quantizing and dequantizing.
- int4: matrix products and embeddings, in blocks of 32 weights. Convolutions and recurrent layers stay in float32, as
  ONNX Runtime has no 4-bit kernels for them.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from edgeward_converters.data import Arrays
from edgeward_converters.quantizers import Written
from edgeward_converters.quantizers.contents import Constant
from edgeward_converters.quantizers.ladder import Rung
from edgeward_converters.quantizers.onnxruntime_weights import graphs, store_in_8_bits
from edgeward_runtimes.errors import ConversionError
from edgeward_runtimes.manifest import Quantization

# int4 tensors and 16-bit QuantizeLinear came with it. Conversion keeps what older operators mean.
_OPSET = 21
_BLOCK = 32
_FLOATS = {"float": "float32", "double": "float64"}

Batches = list[Arrays] | None


def quantize(float_artifact: Path, artifact: Path, rung: Rung, calibration: Batches) -> Written:
    """Write an `.onnx` of another precision. Raises ConversionError."""
    make, kind = _MAKERS[rung]
    if kind == "static" and calibration is None:
        raise ConversionError("needs calibration data")
    make(float_artifact, artifact, calibration)
    return [artifact], kind


def constants(artifact: Path) -> list[Constant]:
    """What is fixed in it; what 4-bit kernels read is packed by two into bytes."""
    found = []
    for graph in graphs(onnx.load(str(artifact)).graph):
        packed = {name for node in graph.node if (name := _in_4_bits(node))}
        for tensor in graph.initializer:
            dtype = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
            shape = tuple(tensor.dims)
            if tensor.name in packed:
                dtype, shape = "int4", (*shape, 2) if dtype == "uint8" else shape
            found.append(Constant(_FLOATS.get(dtype, dtype), shape))
    return found


def _in_4_bits(node: Any) -> str | None:
    """The name of the weights that a node has in 4 bits."""
    if node.op_type == "MatMulNBits":
        return str(node.input[1])
    return str(node.input[0]) if node.op_type == "GatherBlockQuantized" else None


def _half(float_artifact: Path, artifact: Path, calibration: Batches) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(str(float_artifact)), keep_io_types=True), str(artifact))


def _static(float_artifact: Path, artifact: Path, calibration: Batches) -> None:
    _static_with(fused(float_artifact, artifact), artifact, calibration, QuantType.QUInt8)


def _static_in_16_bits(float_artifact: Path, artifact: Path, calibration: Batches) -> None:
    prepared = fused(float_artifact, artifact)
    onnx.save(_modern(prepared), str(prepared))
    _static_with(prepared, artifact, calibration, QuantType.QInt16)


def _static_with(prepared: Path, artifact: Path, calibration: Batches, activations: QuantType) -> None:
    quantize_static(
        str(prepared),
        str(artifact),
        _Reader(calibration or []),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=activations,
        weight_type=QuantType.QInt8,
    )


def _corrected(float_artifact: Path, artifact: Path, calibration: Batches) -> None:
    from edgeward_converters.quantizers.corrected import static

    model = onnx.load(str(fused(float_artifact, artifact)))
    has_attention = any(_is_attention(graph) for graph in graphs(model.graph))
    onnx.save(static(model, calibration or [], has_attention=has_attention), str(artifact))


def _dynamic(float_artifact: Path, artifact: Path, calibration: Batches) -> None:
    # Convolutions on signed weights have no integer kernel in ONNX Runtime when quantized dynamically.
    prepared = fused(float_artifact, artifact)
    quantize_dynamic(str(prepared), str(artifact), weight_type=QuantType.QUInt8, per_channel=True)


def _of_the_weights(float_artifact: Path, artifact: Path, calibration: Batches) -> None:
    onnx.save(store_in_8_bits(onnx.load(str(fused(float_artifact, artifact)))), str(artifact))


def _in_blocks(float_artifact: Path, artifact: Path, calibration: Batches) -> None:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
    from onnxruntime.quantization.onnx_model import ONNXModel

    # Not the prepared model: its fused Gemm nodes are what the quantizer passes over.
    model = ONNXModel(_modern(float_artifact))
    model.replace_gemm_with_matmul()
    quantizer = MatMulNBitsQuantizer(
        model.model, block_size=_BLOCK, is_symmetric=False, op_types_to_quantize=("MatMul", "Gather")
    )
    quantizer.process()
    quantizer.model.save_model_to_file(str(artifact))


def fused(float_artifact: Path, artifact: Path) -> Path:
    """The model with shapes inferred and operators fused, as the library wants it."""
    prepared = artifact.with_suffix(".prepared.onnx")
    quant_pre_process(str(float_artifact), str(prepared), skip_symbolic_shape=True)
    return prepared


def _modern(path: Path) -> onnx.ModelProto:
    """The model in an opset that has the small types."""
    model = onnx.load(str(path))
    version = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    return model if version >= _OPSET else onnx.version_converter.convert_version(model, _OPSET)


def _is_attention(graph: Any) -> bool:
    """Whether a softmax goes straight into a matrix product."""
    softmaxes = {name for node in graph.node if node.op_type == "Softmax" for name in node.output}
    return any(name in softmaxes for node in graph.node if node.op_type in ("MatMul", "Einsum") for name in node.input)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands over one batch after another, as the library wants it."""

    def __init__(self, batches: list[Arrays]) -> None:
        self._batches: Iterator[Arrays] = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        """The next batch, or None at the end."""
        return next(self._batches, None)


_Maker = Callable[[Path, Path, Batches], None]
_MAKERS: dict[Rung, tuple[_Maker, Quantization | None]] = {
    Rung("fp16"): (_half, None),
    Rung("int8", "static"): (_static, "static"),
    Rung("int8", "corrected"): (_corrected, "static"),
    Rung("int8", "dynamic"): (_dynamic, "dynamic"),
    Rung("int8", "weights"): (_of_the_weights, "weights"),
    Rung("int16x8", "static"): (_static_in_16_bits, "static"),
    Rung("int4"): (_in_blocks, "weights"),
}
