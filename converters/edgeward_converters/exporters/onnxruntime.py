"""SavedModel → `.onnx`, by tf2onnx with Keras's patches for NumPy 2."""

from pathlib import Path

import onnx
import tensorflow as tf
import tf2onnx
from keras.src.export.tf2onnx_lib import patch_tf2onnx

from edgeward_converters.sources import Source

OPSET = 17


def export(source: Source, artifact: Path) -> list[Path]:
    """Write a float `.onnx` whose inputs and outputs have the source's names and a free batch axis."""
    patch_tf2onnx()
    loaded = tf.saved_model.load(str(source.saved_model))
    serve = loaded.signatures["serving_default"]
    specifications = {tensor.name: tf.TensorSpec(tensor.shape, tensor.dtype, tensor.name) for tensor in source.inputs}

    @tf.function(input_signature=list(specifications.values()))  # type: ignore[untyped-decorator]
    def ordered(*tensors: tf.Tensor) -> list[tf.Tensor]:
        results = serve(**dict(zip(specifications, tensors, strict=True)))
        return [tf.identity(results[tensor.name]) for tensor in source.outputs]

    model, _ = tf2onnx.convert.from_function(ordered, list(specifications.values()), opset=OPSET)
    _rename(model, source)
    onnx.checker.check_model(model)
    onnx.save(model, str(artifact))
    return [artifact]


def _rename(model: onnx.ModelProto, source: Source) -> None:
    """Give graph inputs and outputs their public names, wherever a node mentions them."""
    graph = model.graph
    wanted = {
        **{given.name: tensor.name for given, tensor in zip(graph.input, source.inputs, strict=True)},
        **{given.name: tensor.name for given, tensor in zip(graph.output, source.outputs, strict=True)},
    }
    # Inner tensors that happen to have a public name step aside first.
    aside = {name: f"inner_{name}" for name in wanted.values() if name not in wanted}
    renamed = {**aside, **wanted}
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = renamed.get(value.name, value.name)
    for given in (*graph.input, *graph.output):
        given.type.tensor_type.shape.dim[0].dim_param = "batch"
