"""To `.xml` with its `.bin`: OpenVINO's own frontends for all four forms."""

from pathlib import Path
from typing import Any

import openvino

from edgeward_converters.exporters import onnx_loops, onnxruntime, refuse_quantized
from edgeward_converters.exporters.torch_operators import is_recurrent
from edgeward_converters.sources import Source


def from_saved_model(source: Source, artifact: Path) -> list[Path]:
    """Read the signature."""
    model = openvino.convert_model(str(source.canonical))
    return _save(model, source, artifact)


def from_torch(source: Source, artifact: Path) -> list[Path]:
    """Read the exported program: tracing the module instead fails on a TransformerEncoder.

    OpenVINO takes recurrent layers apart step by step, in minutes where the batch is free. ONNX has operators for them,
    which become OpenVINO's own sequences.
    """
    from edgeward_converters.sources.torch import load

    program = load(source.canonical)
    if is_recurrent(program):
        (translated,) = onnxruntime.from_torch(source, artifact.with_suffix(".onnx"))
        return _save(openvino.convert_model(str(translated)), source, artifact)
    model = openvino.convert_model(program)
    _name(model.inputs, source.inputs)
    _name(model.outputs, source.outputs)
    return _save(model, source, artifact)


def from_onnx(source: Source, artifact: Path) -> list[Path]:
    """Read the file; loops that OpenVINO cannot read are written out."""
    try:
        model = openvino.convert_model(str(source.canonical))
    except Exception:  # its frontends raise RuntimeErrors and classes of their own
        unrolled = onnx_loops.unrolled(source.canonical, artifact.parent)
        if unrolled == source.canonical:
            raise
        model = openvino.convert_model(str(unrolled))
    return _save(model, source, artifact)


def from_tflite(source: Source, artifact: Path) -> list[Path]:
    """Read the file. Raises ConversionError for one that is quantized already."""
    refuse_quantized(source)
    return _save(openvino.convert_model(str(source.canonical)), source, artifact)


def save(model: openvino.Model, artifact: Path) -> list[Path]:
    """Write the model in float32; half floats would be a precision of their own."""
    openvino.save_model(model, str(artifact), compress_to_fp16=False)
    return [artifact, artifact.with_suffix(".bin")]


def _save(model: openvino.Model, source: Source, artifact: Path) -> list[Path]:
    """Leave each tensor its public name alone, and give inputs the source's shapes: known axes make fast kernels."""
    for tensor in source.inputs:
        model.input(tensor.name).get_tensor().set_names({tensor.name})
    for tensor in source.outputs:
        model.output(tensor.name).get_tensor().set_names({tensor.name})
    shapes = {
        tensor.name: [source.batch or -1, *(-1 if size is None else size for size in tensor.shape[1:])]
        for tensor in source.inputs
    }
    model.reshape(shapes)
    return save(model, artifact)


def _name(ports: Any, tensors: Any) -> None:
    """Name ports by their order."""
    for port, tensor in zip(ports, tensors, strict=True):
        port.get_tensor().set_names({tensor.name})
