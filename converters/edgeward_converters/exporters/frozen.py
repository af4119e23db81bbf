"""A SavedModel's signature as one graph of constants for one batch size: what TFLite's converter takes of a loop.

Keras's recurrent layers loop over tensor lists whose elements have a free batch. The converter lowers such lists only
when every element's shape is known and no variable is left, so variables become constants, functions are inlined, and
the batch is written into the lists' shapes.
"""

from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from edgeward_converters.exporters.signature import ordered
from edgeward_converters.sources import Source


def freeze(source: Source, batch: int) -> Any:
    """The signature's concrete function, its tensors in the source's order, for exactly `batch` samples."""
    function = ordered(source, batch)  # held here: its variables die with it
    constant = convert_variables_to_constants_v2(function.get_concrete_function())
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
