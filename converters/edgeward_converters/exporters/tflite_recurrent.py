"""Recurrent layers, written into a `.tflite` file step by step where `onnx_recurrent` took them out of the ONNX graph.

A step of an LSTM or a GRU is a dozen operators. All steps share their weights, which are dense layers' and can be
quantized as such, and nothing is kept from one call to the next. No operator gives a tensor that none reads, and none
takes a state of zeros: quantizers stumble over both.
"""

from collections.abc import Callable, Mapping
from typing import cast

import numpy as np

from edgeward_converters.exporters import tflite_file
from edgeward_converters.exporters.onnx_recurrent import Array, Direction, Layer
from edgeward_converters.exporters.tflite_writer import Writer

State = tuple[int | None, int | None]  # h and c as tensors; None: zeros
Step = Callable[[int, State], State]  # from a step's number and the state before it


def write_in(content: bytes, layers: Mapping[str, Layer]) -> bytes:
    """The model with each layer in place of the custom operator of its code."""
    model = tflite_file.read(content)
    graph = model.subgraphs[0]
    operators = []
    for operator in graph.operators:
        code = (model.operatorCodes[operator.opcodeIndex].customCode or b"").decode()
        if code in layers:
            writer = Writer(model, graph, code.lower())
            _write_layer(writer, layers[code], list(operator.inputs), list(operator.outputs))
            operators += writer.operators
        else:
            operators.append(operator)
    graph.operators = operators
    tflite_file.drop_unused(model)
    return tflite_file.write(model)


def _write_layer(writer: Writer, layer: Layer, inputs: list[int], outputs: list[int]) -> None:
    steps, samples, width = layer.shape
    rows = writer.reshape(inputs[0], (steps * samples, width))
    states = {name: _split_state(writer, layer, index) for name, index in zip(layer.states, inputs[1:], strict=True)}
    passes = []
    for number, direction in enumerate(layer.directions):
        h, c = (states[name][number] if name in states else None for name in "hc")
        step = _STEPS[layer.kind](writer, layer, direction, rows)
        passes.append(_run(step, steps, direction.is_backward, (h, c)))
    ends = [run[0 if each.is_backward else -1] for run, each in zip(passes, layer.directions, strict=True)]
    results = {
        "Y": [run[step][0] for step in range(steps) for run in passes],
        "Y_h": [h for h, _ in ends],
        "Y_c": [c for _, c in ends],
    }
    for name, output in zip(layer.outputs, outputs, strict=True):
        parts = cast(list[int], results[name])
        writer.reshape(writer.join(parts) if len(parts) > 1 else parts[0], layer.shape_of(name), into=output)


def _split_state(writer: Writer, layer: Layer, given: int) -> list[int]:
    """Each direction's part of an initial state."""
    directions = len(layer.directions)
    parts = writer.split(given, directions, 0) if directions > 1 else [given]
    return [writer.reshape(part, (layer.shape[1], layer.size)) for part in parts]


def _run(step: Step, steps: int, is_backward: bool, state: State) -> list[State]:
    """The states after each step, in the sequence's own order."""
    states = []
    for number in reversed(range(steps)) if is_backward else range(steps):
        state = step(number, state)
        states.append(state)
    return states[::-1] if is_backward else states


def _projected(writer: Writer, rows: int, weights: Array, bias: Array, steps: int) -> list[int]:
    """What a step's input adds to its gates: for all steps at once, then one tensor a step."""
    projected = writer.dense(rows, writer.constant(weights), writer.constant(bias))
    return writer.split(projected, steps, 0) if steps > 1 else [projected]


def _gates(writer: Writer, x: int, names: str, read: str) -> dict[str, int]:
    """The gates that stand side by side in x, of one letter each; only those that are read."""
    if read == names:
        return dict(zip(names, writer.split(x, len(names), 1), strict=True))
    samples, width = writer.shape(x)
    size = width // len(names)
    return {name: writer.slice(x, (0, names.index(name) * size), (samples, size)) for name in read}


def _sums(writer: Writer, layer: Layer, direction: Direction, rows: int) -> Callable[[int, int | None], int]:
    """What goes into the activations at a step: the input and the state before it, each weighted, and the biases."""
    bias = direction.bias + direction.recurrent_bias
    inputs = _projected(writer, rows, direction.weights, bias, layer.shape[0])
    recurrent = writer.constant(direction.recurrent)
    return lambda number, h: inputs[number] if h is None else writer.add(writer.dense(h, recurrent), inputs[number])


def _lstm(writer: Writer, layer: Layer, direction: Direction, rows: int) -> Step:
    sums = _sums(writer, layer, direction, rows)

    def step(number: int, state: State) -> State:
        h, c = state
        gate = _gates(writer, sums(number, h), "iofg", "iog" if c is None else "iofg")
        new = writer.multiply(writer.activate(gate["i"], "LOGISTIC"), writer.activate(gate["g"], "TANH"))
        if c is not None:
            new = writer.add(writer.multiply(writer.activate(gate["f"], "LOGISTIC"), c), new)
        return writer.multiply(writer.activate(gate["o"], "LOGISTIC"), writer.activate(new, "TANH")), new

    return step


def _gru(writer: Writer, layer: Layer, direction: Direction, rows: int) -> Step:
    steps, two = layer.shape[0], 2 * layer.size
    bias, recurrent_bias = direction.bias.copy(), direction.recurrent_bias
    bias[:two] += recurrent_bias[:two]
    if not layer.resets_after:
        bias[two:] += recurrent_bias[two:]
    inputs = _projected(writer, rows, direction.weights[:two], bias[:two], steps)
    candidates = _projected(writer, rows, direction.weights[two:], bias[two:], steps)
    recurrent, candidate = (writer.constant(part) for part in np.split(direction.recurrent, [two]))
    candidate_bias = writer.constant(recurrent_bias[two:])

    def first(number: int) -> int:
        gates = writer.activate(inputs[number], "LOGISTIC")
        gate = _gates(writer, gates, "zr", "zr" if layer.resets_after else "z")
        new = candidates[number]
        if layer.resets_after:
            new = writer.add(new, writer.multiply(gate["r"], candidate_bias))
        new = writer.activate(new, "TANH")
        return writer.subtract(new, writer.multiply(gate["z"], new))

    def step(number: int, state: State) -> State:
        h, _ = state
        if h is None:
            return first(number), None
        gates = writer.activate(writer.add(writer.dense(h, recurrent), inputs[number]), "LOGISTIC")
        gate = _gates(writer, gates, "zr", "zr")
        if layer.resets_after:
            reset = writer.multiply(gate["r"], writer.dense(h, candidate, candidate_bias))
        else:
            reset = writer.dense(writer.multiply(gate["r"], h), candidate)
        new = writer.activate(writer.add(reset, candidates[number]), "TANH")
        return writer.add(new, writer.multiply(gate["z"], writer.subtract(h, new))), None

    return step


def _rnn(writer: Writer, layer: Layer, direction: Direction, rows: int) -> Step:
    sums = _sums(writer, layer, direction, rows)

    def step(number: int, state: State) -> State:
        h, _ = state
        return writer.activate(sums(number, h), layer.activation.upper()), None

    return step


_STEPS: dict[str, Callable[[Writer, Layer, Direction, int], Step]] = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}
