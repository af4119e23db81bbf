"""SavedModel → `.xml` with its `.bin`, by OpenVINO's TensorFlow frontend."""

from pathlib import Path

import openvino

from edgeward_converters.sources import Source


def export(source: Source, artifact: Path) -> list[Path]:
    """Write a float32 OpenVINO model whose inputs and outputs have the source's names."""
    model = openvino.convert_model(str(source.saved_model))
    for tensor in source.inputs:
        model.input(tensor.name).get_tensor().set_names({tensor.name})
    for tensor in source.outputs:
        model.output(tensor.name).get_tensor().set_names({tensor.name})
    return save(model, artifact)


def save(model: openvino.Model, artifact: Path) -> list[Path]:
    """Write the model in float32; half floats would be a precision of their own."""
    openvino.save_model(model, str(artifact), compress_to_fp16=False)
    return [artifact, artifact.with_suffix(".bin")]
