"""LSTM, GRU and RNN layers, taken out of an ONNX graph before onnx2tf sees it; `tflite_recurrent` writes them in again.

onnx2tf makes LiteRT's fused kernels of them, which keep their state from one call to the next and cannot be quantized,
or some fifty small operators a step. So each layer goes through it as a custom operator, and comes out with its name.
"""

from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
# What `tflite_recurrent` writes, for one direction; the default first.
_ACTIVATIONS = {"LSTM": (["Sigmoid", "Tanh", "Tanh"],), "GRU": (["Sigmoid", "Tanh"],), "RNN": (["Tanh"], ["Relu"])}
_IS_BACKWARD = {b"forward": (False,), b"reverse": (True,), b"bidirectional": (False, True)}
_KNOWN = {"activations", "direction", "hidden_size", "linear_before_reset"}  # attributes; zeros of others do nothing
_OUTPUTS = ("Y", "Y_h", "Y_c")
_STATES = {"h": 5, "c": 6}  # their places among the inputs
_RANK = 3


class Direction(Struct, frozen=True):
    """One pass over the sequence. Gates are in ONNX's order (LSTM iofc, GRU zrh) along the first axis of every array.

    Attributes:
        is_backward: From the last step to the first.
        weights: (gates · size, width).
        bias: (gates · size,), of the weights.
        recurrent: (gates · size, size).
        recurrent_bias: (gates · size,), of the recurrent weights.
    """

    is_backward: bool
    weights: Array
    bias: Array
    recurrent: Array
    recurrent_bias: Array


class Layer(Struct, frozen=True):
    """A recurrent layer as https://onnx.ai/onnx/operators has it.

    Attributes:
        kind: LSTM, GRU or RNN.
        activation: Of the RNN: Tanh or Relu.
        resets_after: GRU's `linear_before_reset`.
        shape: Of its input: steps, samples, width.
        size: Of its state.
        directions: One, or forward and backward.
        states: The initial states that it is given after its input, of "h" and "c"; others are zero.
        outputs: Those of Y, Y_h and Y_c that are read.
    """

    kind: str
    activation: str
    resets_after: bool
    shape: tuple[int, int, int]
    size: int
    directions: tuple[Direction, ...]
    states: tuple[str, ...]
    outputs: tuple[str, ...]

    def shape_of(self, output: str) -> tuple[int, ...]:
        """An output's shape."""
        steps, samples, _ = self.shape
        rest = (len(self.directions), samples, self.size)
        return (steps, *rest) if output == "Y" else rest


def take_out(model: Any) -> dict[str, Layer]:
    """Replace recurrent nodes by custom ones, in place.

    Nodes of uncommon kinds stay: those of other activations, with clipping, peepholes or several lengths.

    Returns:
        The layers, by the code of the custom operator that each becomes in the `.tflite` file.
    """
    graph = model.graph
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    shapes = {value.name: _shape(value) for value in (*graph.value_info, *graph.input)}
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    layers: dict[str, Layer] = {}
    for node in graph.node:
        if node.op_type not in _GATES or not _is_usual(node, constants, shapes):
            continue
        layer = _layer(node, constants, shapes, read)
        name = f"Recurrent{len(layers)}"
        layers[f"ONNX_{name.upper()}"] = layer
        states = [_input(node, _STATES[state]) for state in layer.states]
        results = [node.output[_OUTPUTS.index(output)] for output in layer.outputs]
        node.CopyFrom(helper.make_node(name, [node.input[0], *states], results, name=name))
        for output, result in zip(layer.outputs, results, strict=True):
            if result not in shapes:
                shape = layer.shape_of(output)
                graph.value_info.append(helper.make_tensor_value_info(result, TensorProto.FLOAT, shape))
    return layers


def _is_usual(node: Any, constants: dict[str, Array], shapes: dict[str, tuple[int, ...]]) -> bool:
    attributes = _attributes(node)
    directions = len(_IS_BACKWARD[attributes.get("direction", b"forward")])
    activations = [name.decode() for name in attributes.get("activations", [])]
    shape = shapes.get(node.input[0], ())
    lengths = _input(node, 4)
    return (
        not any(value for name, value in attributes.items() if name not in _KNOWN)
        and (not activations or any(activations == usual * directions for usual in _ACTIVATIONS[node.op_type]))
        and len(shape) == _RANK
        and all(shape)
        and {name for name in node.input[1:4] if name} <= constants.keys()
        and (not lengths or (lengths in constants and bool((constants[lengths] == shape[0]).all())))
        and not _input(node, 7)  # peepholes
    )


def _layer(node: Any, constants: dict[str, Array], shapes: dict[str, Any], read: set[str]) -> Layer:
    attributes = _attributes(node)
    size, gates = attributes["hidden_size"], _GATES[node.op_type]
    weights, recurrent = constants[node.input[1]], constants[node.input[2]]
    bias = constants.get(_input(node, 3), np.zeros((len(weights), 2 * gates * size), np.float32))
    flags = _IS_BACKWARD[attributes.get("direction", b"forward")]
    arrays = zip(flags, weights, bias[:, : gates * size], recurrent, bias[:, gates * size :], strict=True)
    given = {state: constants.get(_input(node, place)) for state, place in _STATES.items() if _input(node, place)}
    return Layer(
        kind=node.op_type,
        activation=activations[0].decode() if (activations := attributes.get("activations")) else "Tanh",
        resets_after=bool(attributes.get("linear_before_reset", 0)),
        shape=shapes[node.input[0]],
        size=size,
        directions=tuple(Direction(*each) for each in arrays),
        states=tuple(state for state, array in given.items() if array is None or array.any()),
        outputs=tuple(name for name, result in zip(_OUTPUTS, node.output, strict=False) if result in read),
    )


def _attributes(node: Any) -> dict[str, Any]:
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def _input(node: Any, place: int) -> str:
    """The name of an input; empty where there is none."""
    return node.input[place] if place < len(node.input) else ""


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
