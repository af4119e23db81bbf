"""Counting Keras models in their TensorFlow graph: layers of any kind, nested or custom, end in a few operations."""

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

_PICTURE_SIDE, _SEQUENCE_LENGTH = 224, 128
_CALLS = {"PartitionedCall": "f", "StatefulPartitionedCall": "f"}
_LOOPS = {"While": "body", "StatelessWhile": "body"}
_BRANCHES = {"If", "StatelessIf"}


def parameters(model: Any) -> int:
    """The numbers in all weights, trainable or not, shared ones once."""
    weights = {id(weight): math.prod(weight.shape) for weight in model.weights}
    return sum(weights.values())


def macs(model: Any) -> int:
    """Multiply-accumulates for one sample of a built model that knows its inputs."""
    from edgeward_converters.sources.keras import structured

    specifications = [tf.TensorSpec(_sizes(tensor.shape), tensor.dtype) for tensor in model.inputs]
    function = tf.function(lambda *tensors: model(structured(model, tensors), training=False))
    return _of_graph(function.get_concrete_function(*specifications).graph)


def _sizes(shape: Any) -> list[int]:
    """One sample; sizes that the model leaves free as `Size` says."""
    free = _PICTURE_SIDE if len(shape) > 3 else _SEQUENCE_LENGTH
    return [1, *(size or free for size in shape[1:])]


def _of_graph(graph: Any) -> int:
    return sum(_of_operation(operation, graph) for operation in _used(graph))


def _used(graph: Any) -> list[Any]:
    """The operations that the outputs come of: Keras tries a step of a recurrent layer before its loop."""
    found: dict[str, Any] = {}
    waiting = [output.op for output in graph.outputs]
    while waiting:
        operation = waiting.pop()
        if operation.name not in found:
            found[operation.name] = operation
            waiting += [*(tensor.op for tensor in operation.inputs), *operation.control_inputs]
    return list(found.values())


def _of_operation(operation: Any, graph: Any) -> int:
    kind = operation.type
    if kind in _RULES:
        return _RULES[kind](operation)
    if kind in _CALLS:
        return _inside(operation, _CALLS[kind], graph)
    if kind in _LOOPS:
        return _turns(operation, graph) * _inside(operation, _LOOPS[kind], graph)
    if kind in _BRANCHES:
        return max(_inside(operation, branch, graph) for branch in ("then_branch", "else_branch"))
    return 0


def _inside(operation: Any, attribute: str, graph: Any) -> int:
    return _of_graph(graph._get_function(operation.get_attr(attribute).name).graph)


def _turns(operation: Any, graph: Any) -> int:
    """How often a loop turns: TensorFlow keeps the most it may turn as the loop's second input."""
    try:
        with tf.compat.v1.Session(graph=graph) as session:
            return max(1, int(session.run(operation.inputs[1])))
    except tf.errors.OpError:  # it depends on the input's values
        return 1


def _size(shape: Any) -> int:
    return math.prod(size or 1 for size in shape.as_list()) if shape.rank else 1


def _matrix_product(operation: Any) -> int:
    """The output's size, each of them a sum over the axis that both factors share."""
    transposed = any(operation.get_attr(name) for name in ("transpose_a", "adj_x") if name in operation.node_def.attr)
    return _size(operation.outputs[0].shape) * (operation.inputs[0].shape[-2 if transposed else -1] or 1)


def _convolution(operation: Any) -> int:
    """The whole kernel, once per position of the output."""
    return _size(operation.inputs[1].shape) * _positions(operation, operation.outputs[0].shape)


def _transposed_convolution(operation: Any) -> int:
    """The whole kernel, once per position of the input."""
    return _size(operation.inputs[1].shape) * _positions(operation, operation.inputs[2].shape)


def _positions(operation: Any, shape: Any) -> int:
    channels_first = operation.get_attr("data_format").startswith(b"NC")
    return _size(shape) // (shape[1 if channels_first else -1] or 1)


def _einsum(operation: Any) -> int:
    """The product of all axes' sizes; `...` stands for the axes that the longest operand has for it."""
    terms = operation.get_attr("equation").decode().partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    rest = 1
    for term, operand in zip(terms, operation.inputs, strict=True):
        before, dots, after = term.partition("...")
        shape = [size or 1 for size in operand.shape.as_list()]
        end = len(shape) - len(after)
        sizes.update(zip(before, shape, strict=False))
        if dots:
            sizes.update(zip(after, shape[end:], strict=True))
            rest = max(rest, math.prod(shape[len(before) : end]))
    return math.prod(sizes.values()) * rest


_RULES: dict[str, Callable[[Any], int]] = {
    "MatMul": _matrix_product,
    "BatchMatMul": _matrix_product,
    "BatchMatMulV2": _matrix_product,
    "BatchMatMulV3": _matrix_product,
    "Einsum": _einsum,
    "Conv2D": _convolution,
    "Conv3D": _convolution,
    "DepthwiseConv2dNative": _convolution,
    "Conv2DBackpropInput": _transposed_convolution,
    "Conv3DBackpropInputV2": _transposed_convolution,
}
