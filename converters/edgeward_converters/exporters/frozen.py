"""A SavedModel's signature as one graph of constants for one batch size: what TFLite's converter takes of a loop.

Keras's recurrent layers loop over tensor lists whose elements have a free batch. The converter lowers such lists only
when every element's shape is known and no variable is left, so variables become constants, functions are inlined, and
the batch is written into the lists' shapes.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from edgeward_runtimes.manifest import Tensor


def freeze(saved_model: str, inputs: Sequence[Tensor], outputs: Sequence[str], batch: int) -> Any:
    """The concrete function of `serving_default`, its tensors in the order given, for exactly `batch` samples."""
    loaded = tf.saved_model.load(saved_model)  # held here: its variables die with it
    serve = loaded.signatures["serving_default"]
    specifications = [tf.TensorSpec((batch, *each.shape[1:]), each.dtype, each.name) for each in inputs]

    @tf.function(input_signature=specifications)  # type: ignore[untyped-decorator]
    def ordered(*tensors: Any) -> list[Any]:
        results = serve(**{each.name: value for each, value in zip(inputs, tensors, strict=True)})
        return [tf.identity(results[name]) for name in outputs]

    constant = convert_variables_to_constants_v2(ordered.get_concrete_function())
    graph = constant.graph.as_graph_def()
    _fix_lists(graph, batch)
    imported = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph, name=""), [])
    return imported.prune([each.name for each in constant.inputs], [each.name for each in constant.outputs])


def _fix_lists(graph: Any, batch: int) -> None:
    """Write the batch where the shape of a list's elements leaves the first axis free."""
    nodes = {node.name: node for node in graph.node}
    for node in graph.node:
        if not node.op.startswith("TensorList"):
            continue
        for name in node.input:
            constant = nodes.get(name.partition(":")[0])
            if constant is not None and constant.op == "Const":
                _fix_shape(constant.attr["value"].tensor, batch)


def _fix_shape(tensor: Any, batch: int) -> None:
    if tensor.dtype != tf.int32.as_datatype_enum:
        return
    shape = tf.make_ndarray(tensor)
    if shape.ndim == 1 and shape.size and shape[0] == -1:
        tensor.CopyFrom(tf.make_tensor_proto([batch, *shape[1:]], dtype=tf.int32))
