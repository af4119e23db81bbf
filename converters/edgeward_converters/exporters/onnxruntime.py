"""To `.onnx`: tf2onnx with Keras's patches for NumPy 2, PyTorch's own exporter, or the file that came."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from edgeward_converters.exporters import refuse_quantized, torch_onnx
from edgeward_converters.sources import Source
from edgeward_converters.sources.onnx import rename

OPSET = 17


def from_saved_model(source: Source, artifact: Path) -> list[Path]:
    """Convert the signature by tf2onnx."""
    import tf2onnx
    from keras.src.export.tf2onnx_lib import patch_tf2onnx

    from edgeward_converters.exporters.signature import ordered

    patch_tf2onnx()
    function = ordered(source, source.batch)
    model, _ = tf2onnx.convert.from_function(
        function, function.input_signature, opset=OPSET, custom_op_handlers={"Erfc": (_erfc, [])}
    )
    return _save(model, source, artifact)


def from_torch(source: Source, artifact: Path) -> list[Path]:
    """Translate the program by torch.onnx."""
    return _save(onnx.load(str(torch_onnx.of(source, artifact.parent))), source, artifact)


def from_onnx(source: Source, artifact: Path) -> list[Path]:
    """Take the model as it is."""
    artifact.write_bytes(source.canonical.read_bytes())
    return [artifact]


def from_tflite(source: Source, artifact: Path) -> list[Path]:
    """Convert by tf2onnx's reader of flatbuffers. Raises ConversionError for a file that is quantized already."""
    import tf2onnx
    from keras.src.export.tf2onnx_lib import patch_tf2onnx

    refuse_quantized(source)
    patch_tf2onnx()
    model, _ = tf2onnx.convert.from_tflite(str(source.canonical), opset=OPSET)
    return _save(model, source, artifact)


def _erfc(graph: Any, node: Any, name: str, settings: Any) -> None:
    """1 − erf(x), which tf2onnx has not; Keras's gelu is made of it."""
    output, shapes, dtypes = node.output[0], node.output_shapes, node.output_dtypes
    graph.remove_node(node.name)
    one = graph.make_const(f"{name}_one", np.array(1, helper.tensor_dtype_to_np_dtype(dtypes[0])))
    erf = graph.make_node("Erf", [node.input[0]], shapes=shapes, dtypes=dtypes)
    graph.make_node("Sub", [one.output[0], erf.output[0]], outputs=[output], shapes=shapes, dtypes=dtypes)


def _in_order(model: onnx.ModelProto, source: Source) -> None:
    """Put the graph's tensors into the source's order where their names say it: a `.tflite` has an order of its own."""
    for values, tensors in ((model.graph.input, source.inputs), (model.graph.output, source.outputs)):
        by_name = {value.name: value for value in values}
        if set(by_name) == {tensor.name for tensor in tensors}:
            ordered = [by_name[tensor.name] for tensor in tensors]
            del values[:]
            values.extend(ordered)


def _save(model: onnx.ModelProto, source: Source, artifact: Path) -> list[Path]:
    """Name the tensors, free the batch axis, check, write."""
    _in_order(model, source)
    rename(model, [tensor.name for tensor in source.inputs], [tensor.name for tensor in source.outputs])
    if source.batch is None:
        for given in (*model.graph.input, *model.graph.output):
            given.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.checker.check_model(model)
    onnx.save(model, str(artifact))
    return [artifact]
