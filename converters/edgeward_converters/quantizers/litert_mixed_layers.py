"""The weights of a `.tflite` file that can have a precision of their own, and what flows into them.

A layer is one constant and every operator that multiplies by it: recurrent cells share theirs. What is known of a
layer's inputs are their means and covariances over calibration samples, as rows of the matrix that the weights multiply
(patches of a convolution), from which the error of any rounding follows without running the model again.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from msgspec import Struct
from numpy.typing import NDArray

from edgeward_converters.data import Arrays
from edgeward_converters.exporters import tflite_file
from edgeward_converters.exporters.tflite_file import builtin_code, stored_bytes
from edgeward_runtimes.errors import ConversionError

Array = NDArray[Any]

_OPERATOR = schema.BuiltinOperator
# By operator: which of its inputs the weights are.
_WEIGHTS_AT = {
    _OPERATOR.CONV_2D: 1,
    _OPERATOR.DEPTHWISE_CONV_2D: 1,
    _OPERATOR.FULLY_CONNECTED: 1,
    _OPERATOR.EMBEDDING_LOOKUP: 1,
    _OPERATOR.TRANSPOSE_CONV: 1,
    _OPERATOR.BATCH_MATMUL: 1,
}
_NAMES = {
    _OPERATOR.CONV_2D: "CONV_2D",
    _OPERATOR.DEPTHWISE_CONV_2D: "DEPTHWISE_CONV_2D",
    _OPERATOR.FULLY_CONNECTED: "FULLY_CONNECTED",
    _OPERATOR.EMBEDDING_LOOKUP: "EMBEDDING_LOOKUP",
    _OPERATOR.TRANSPOSE_CONV: "CONV_2D_TRANSPOSE",
    _OPERATOR.BATCH_MATMUL: "BATCH_MATMUL",
}
_IN_FOUR_BITS = ("CONV_2D", "FULLY_CONNECTED", "EMBEDDING_LOOKUP")
_WIDEST = 2048  # rows of more numbers have a covariance that takes minutes
_ROWS = 8_192  # enough to estimate it


class Layer(Struct, frozen=True):
    """Weights, as the quantizer names them.

    Attributes:
        name: The first operator's output.
        operation: The operators' name in `ai_edge_quantizer.qtyping.TFLOperationName`.
        outputs: The outputs' names of all its operators, by which the quantizer finds them.
        tensor: The weights' place among the first graph's tensors, None for weights inside a loop's body.
        operator: Place of its operator in the first graph, None where there are several or it is inside a loop.
        elements: How many weights.
        bits: The narrowest integers that LiteRT has kernels for: 4 or 8.
    """

    name: str
    operation: str
    outputs: tuple[str, ...]
    tensor: int | None
    operator: int | None
    elements: int
    bits: int


class Moments(Struct, frozen=True):
    """The rows that weights of k numbers per channel multiply: `intended` in the float model, x in the quantized one.

    Attributes:
        intended: Mean of the float model's rows (k,).
        mean: Mean of x (k,).
        covariance: Of x (k, k).
        cross: Covariance of the float model's rows with x (k, k).
    """

    intended: Array
    mean: Array
    covariance: Array
    cross: Array


def layers(content: bytes) -> list[Layer]:
    """The layers of a float model, the largest first."""
    model = tflite_file.read(content)
    found: dict[int, list[tuple[int, int, Any]]] = {}
    for number, graph in enumerate(model.subgraphs):
        for place, operator in enumerate(graph.operators):
            at = _WEIGHTS_AT.get(builtin_code(model, operator))
            if at is not None and _is_weights(model, graph.tensors[operator.inputs[at]]):
                buffer = graph.tensors[operator.inputs[at]].buffer
                found.setdefault(buffer, []).append((number, place, operator))
    return sorted((_layer(model, users) for users in found.values()), key=lambda each: -each.elements)


def weights(content: bytes, of: Iterable[Layer]) -> dict[str, Array]:
    """The layers' float weights as (channels, k), where they lie in the first graph."""
    model = tflite_file.read(content)
    found = {}
    for layer in of:
        if layer.tensor is not None:
            values = tflite_file.constant(model, model.subgraphs[0].tensors[layer.tensor])
            if values is not None:
                found[layer.name] = values.reshape(len(values), -1).astype(np.float64)
    return found


def rows(content: bytes, layer: Layer, inputs: Arrays, quantized: bytes | None = None) -> Array | None:
    """Rows that flow into a layer (n, k), the same places of the same samples whatever the file.

    Args:
        content: A float `.tflite` file's bytes.
        layer: A convolution or dense layer of one operator; there is no answer for others, nor for very wide ones.
        inputs: Calibration samples by input name, as many as the model takes at once.
        quantized: A file whose tensors have the same places, to look into instead.
    """
    if layer.operator is None or layer.operation not in ("CONV_2D", "FULLY_CONNECTED"):
        return None
    graph = tflite_file.read(content).subgraphs[0]
    operator = graph.operators[layer.operator]
    shape = tuple(int(size) for size in graph.tensors[operator.inputs[1]].shape)
    if int(np.prod(shape[1:])) > _WIDEST:
        return None
    values = _values(content if quantized is None else quantized, inputs, int(operator.inputs[0]))
    return _rows(values, shape, operator.builtinOptions)


def moments(intended: Array, real: Array | None = None) -> Moments:
    """The moments of the float model's rows with those of a quantized one, by default the same."""
    intended_mean = intended.mean(axis=0)
    centred = intended - intended_mean
    if real is None:
        covariance = (centred.T @ centred / len(centred)).astype(np.float64)
        return Moments(intended_mean, intended_mean, covariance, covariance)
    mean = real.mean(axis=0)
    shifted = real - mean
    covariance, cross = (each.T @ shifted / len(shifted) for each in (shifted, centred))
    return Moments(intended_mean, mean, covariance.astype(np.float64), cross.astype(np.float64))


def input_places(content: bytes) -> dict[str, int]:
    """The inputs' places among the first graph's tensors, by their public names. Raises ConversionError."""
    signatures = tflite_file.read(content).signatureDefs
    if not signatures:
        raise ConversionError("needs a signature in the .tflite file")
    return {entry.name.decode(): int(entry.tensorIndex) for entry in signatures[0].inputs}


def has_loops(content: bytes) -> bool:
    """Whether operators run in the bodies of loops and branches, where nothing can be calibrated."""
    return len(tflite_file.read(content).subgraphs) > 1


def _is_weights(model: Any, tensor: Any) -> bool:
    return stored_bytes(model, tensor) > 0 and tensor.type == schema.TensorType.FLOAT32


def _layer(model: Any, users: list[tuple[int, int, Any]]) -> Layer:
    number, place, operator = users[0]
    code = builtin_code(model, operator)
    tensor = int(operator.inputs[_WEIGHTS_AT[code]])
    shape = [int(size) for size in model.subgraphs[number].tensors[tensor].shape]
    in_four = _NAMES[code] in _IN_FOUR_BITS and (code != _OPERATOR.EMBEDDING_LOOKUP or shape[-1] % 2 == 0)
    names = [model.subgraphs[each].tensors[op.outputs[0]].name.decode() for each, _, op in users]
    return Layer(
        name=names[0],
        operation=_NAMES[code],
        outputs=tuple(names),
        tensor=tensor if number == 0 else None,
        operator=place if number == 0 and len(users) == 1 else None,
        elements=int(np.prod(shape)),
        bits=4 if in_four else 8,
    )


def _values(content: bytes, inputs: Arrays, wanted: int) -> Array:
    """An inner tensor's values as floats: the graph is cut behind whatever makes it, and gives it as its output."""
    places = input_places(content)
    model = tflite_file.read(content)
    graph = model.subgraphs[0]
    if wanted in places.values():
        return next(array for name, array in inputs.items() if places[name] == wanted).astype(np.float32)
    makers = [place for place, each in enumerate(graph.operators) if wanted in list(each.outputs)]
    graph.operators = graph.operators[: makers[0] + 1]
    graph.outputs = np.array([wanted], np.int32)
    model.signatureDefs = None
    tensors = [graph.tensors[place] for place in places.values()]
    is_free = all(each.shapeSignature is not None and each.shapeSignature[0] == -1 for each in tensors)
    interpreter = Interpreter(model_content=tflite_file.write(model))
    if is_free:
        return _invoked(interpreter, places, inputs)
    singles = [{name: array[[index]] for name, array in inputs.items()} for index in range(_count(inputs))]
    return np.concatenate([_invoked(interpreter, places, each) for each in singles])


def _count(inputs: Arrays) -> int:
    return len(next(iter(inputs.values())))


def _invoked(interpreter: Any, places: dict[str, int], inputs: Arrays) -> Array:
    """The only output of a graph, as floats."""
    details = {detail["index"]: detail for detail in interpreter.get_input_details()}
    for name, array in inputs.items():
        if tuple(details[places[name]]["shape"]) != array.shape:
            interpreter.resize_tensor_input(places[name], array.shape)
    interpreter.allocate_tensors()
    for name, array in inputs.items():
        interpreter.set_tensor(places[name], array.astype(details[places[name]]["dtype"]))
    interpreter.invoke()
    (detail,) = interpreter.get_output_details()
    scale, zero_point = detail["quantization"]
    values = interpreter.get_tensor(detail["index"]).astype(np.float32)
    return np.asarray((values - zero_point) * scale) if scale else values


def _rows(values: Array, shape: tuple[int, ...], options: Any) -> Array:
    """What each output is a product of: a dense layer's inputs as they are, a convolution's patches."""
    if len(shape) != 4:
        return _some(values.reshape(-1, shape[-1]))
    steps = (int(options.strideH), int(options.strideW))
    spread = (int(options.dilationHFactor), int(options.dilationWFactor))
    spans = [(size - 1) * dilation + 1 for size, dilation in zip(shape[1:3], spread, strict=True)]
    if options.padding == schema.Padding.SAME:
        values = np.pad(values, [(0, 0), *_padding(values.shape[1:3], spans, steps), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(values, tuple(spans), axis=(1, 2))
    windows = windows[:, :: steps[0], :: steps[1], :, :: spread[0], :: spread[1]]
    places = _drawn(int(np.prod(windows.shape[:3])))
    some = windows[np.unravel_index(places, windows.shape[:3])]
    return np.ascontiguousarray(some.transpose(0, 2, 3, 1)).reshape(len(some), -1)


def _some(rows: Array) -> Array:
    return rows[_drawn(len(rows))]


def _drawn(count: int) -> Array:
    """Which rows are taken: by chance, as every n-th could be one column of every picture; the same at every call."""
    return np.arange(count) if count <= _ROWS else np.sort(np.random.default_rng(0).choice(count, _ROWS, replace=False))


def _padding(sizes: tuple[int, ...], spans: list[int], steps: tuple[int, int]) -> list[tuple[int, int]]:
    """As TensorFlow pads for "SAME": what is odd goes behind."""
    missing = [
        max(0, (-(-size // step) - 1) * step + span - size)
        for size, span, step in zip(sizes, spans, steps, strict=True)
    ]
    return [(each // 2, each - each // 2) for each in missing]


def largest_tensor(content: bytes) -> int:
    """Elements of the first graph's largest tensor that comes about while running, for one sample."""
    model = tflite_file.read(content)
    moving = [each for each in model.subgraphs[0].tensors if each.shape is not None and not stored_bytes(model, each)]
    return max((int(np.prod(each.shape)) for each in moving), default=1)
