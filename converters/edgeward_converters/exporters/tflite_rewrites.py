"""The same `.tflite` model in operators that quantizers do better with.

- A product with constant weights is a dense layer. ai-edge-quantizer has 4 bits and half floats for that one alone, and
  in 8 bits makes another model of a batched product with constants.
- Padding before a maximum of values that are not negative is with zeros. With the lowest float, nothing else fits into
  8 bits beside it.
- The constant of a maximum or minimum has as many axes as its result. ai-edge-quantizer refuses others.
- An output that the graph reads as well comes as a copy. ai-edge-quantizer may lose it where scales differ.
"""

from typing import Any, cast

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgeward_converters.exporters import tflite_file
from edgeward_converters.exporters.tflite_writer import Writer

_KINDS = schema.BuiltinOperator
_MATRIX = 2  # axes
_NOT_NEGATIVE = {_KINDS.RELU, _KINDS.RELU6, _KINDS.LOGISTIC, _KINDS.SOFTMAX}
_FUSED_NOT_NEGATIVE = {schema.ActivationFunctionType.RELU, schema.ActivationFunctionType.RELU6}


def rewrite(content: bytes) -> bytes:
    """The model, rewritten."""
    model = tflite_file.read(content)
    graph = model.subgraphs[0]
    _copy_outputs(model, graph)
    graph.operators = _Rewriting(model, graph).operators()
    tflite_file.drop_unused(model)
    return tflite_file.write(model)


def _copy_outputs(model: Any, graph: Any) -> None:
    writer = Writer(model, graph, "copied")
    for output in map(int, graph.outputs):
        makers = [operator for operator in graph.operators if output in operator.outputs]
        readers = [operator for operator in graph.operators if output in operator.inputs]
        if not makers or not readers:
            continue
        inner = writer.like(output)
        for maker in makers:
            maker.outputs = np.where(maker.outputs == output, np.int32(inner), maker.outputs)
        for reader in readers:
            reader.inputs = np.where(reader.inputs == output, np.int32(inner), reader.inputs)
        writer.reshape(inner, writer.shape(output), into=output)
    graph.operators += writer.operators


class _Rewriting:
    """One graph, with who makes and who reads its tensors."""

    def __init__(self, model: Any, graph: Any) -> None:
        self._model, self._graph = model, graph
        self._writer = Writer(model, graph, "rewritten")
        self._makers = {int(index): operator for operator in graph.operators for index in operator.outputs}
        self._weights: dict[tuple[int, bool], int] = {}  # of dense layers, by buffer and whether they are turned
        self._readers: dict[int, list[Any]] = {}
        for operator in graph.operators:
            for index in operator.inputs:
                self._readers.setdefault(int(index), []).append(operator)

    def operators(self) -> list[Any]:
        """The graph's operators, rewritten."""
        merged: list[int] = []
        for operator in self._graph.operators:
            kind = tflite_file.builtin_code(self._model, operator)
            if id(operator) in merged:
                continue
            if kind == _KINDS.BATCH_MATMUL and self._is_dense(operator):
                merged.append(id(self._write_dense(operator)))
                continue
            if kind == _KINDS.PADV2 and self._pads_for_maximum(operator):
                self._writer.pad(operator.inputs[0], operator.inputs[1], into=operator.outputs[0])
                continue
            if kind in (_KINDS.MAXIMUM, _KINDS.MINIMUM):
                operator.inputs = np.array([self._with_axes(operator, index) for index in operator.inputs], np.int32)
            self._writer.operators.append(operator)
        return self._writer.operators

    def _is_dense(self, operator: Any) -> bool:
        """Whether it is (…, width) · (width, units), or as much with a single row that stands on end."""
        weights = self._constant(operator.inputs[1])
        stands = operator.builtinOptions.adjX and self._writer.shape(operator.inputs[0])[-1] > 1
        return weights is not None and weights.ndim == _MATRIX and not stands

    def _write_dense(self, operator: Any) -> Any:
        """Write it, with the bias that is added to it if one is; the operator that adds it."""
        x, weights = operator.inputs[0], self._dense_weights(operator)
        if operator.builtinOptions.adjX:
            *rest, width, row = self._writer.shape(x)
            x = self._writer.reshape(x, (*rest, row, width))
        adding, bias = self._bias(operator, self._writer.shape(weights)[0])
        if bias is None:
            self._writer.dense(x, weights, into=operator.outputs[0])
        else:
            activation = adding.builtinOptions.fusedActivationFunction
            self._writer.dense(x, weights, self._writer.constant(bias), into=adding.outputs[0], activation=activation)
        return adding

    def _dense_weights(self, operator: Any) -> int:
        """The weights as (units, width), once for all operators that share them."""
        turns = not operator.builtinOptions.adjY
        key = (self._graph.tensors[operator.inputs[1]].buffer, turns)
        if key not in self._weights:
            weights = cast(NDArray[Any], self._constant(operator.inputs[1]))
            self._weights[key] = self._writer.constant(np.ascontiguousarray(weights.T if turns else weights))
        return self._weights[key]

    def _bias(self, operator: Any, units: int) -> tuple[Any, NDArray[Any] | None]:
        """The only operator that reads the result, if it adds a constant to every unit, and that constant."""
        output = int(operator.outputs[0])
        readers = self._readers.get(output, [])
        if (
            len(readers) != 1
            or output in self._graph.outputs
            or tflite_file.builtin_code(self._model, readers[0]) != _KINDS.ADD
        ):
            return None, None
        (other,) = [index for index in readers[0].inputs if index != output] or [output]
        bias = self._constant(other)
        if bias is None or bias.size != units or bias.shape[-1:] != (units,):
            return None, None
        return readers[0], bias.reshape(units)

    def _pads_for_maximum(self, operator: Any) -> bool:
        """Whether nothing but maxima read it, and what it pads is not negative."""
        maker = self._makers.get(int(operator.inputs[0]))
        readers = self._readers.get(int(operator.outputs[0]), [])
        if maker is None or not readers or operator.outputs[0] in self._graph.outputs:
            return False
        fused = getattr(maker.builtinOptions, "fusedActivationFunction", None)
        return all(tflite_file.builtin_code(self._model, each) == _KINDS.MAX_POOL_2D for each in readers) and (
            tflite_file.builtin_code(self._model, maker) in _NOT_NEGATIVE or fused in _FUSED_NOT_NEGATIVE
        )

    def _with_axes(self, operator: Any, index: int) -> int:
        """An input, or the same constant with as many axes as the operator's result."""
        value = self._constant(index)
        missing = len(self._writer.shape(operator.outputs[0])) - (0 if value is None else value.ndim)
        if value is None or not missing:
            return index
        return self._writer.constant(value.reshape(*[1] * missing, *value.shape))

    def _constant(self, index: int) -> NDArray[Any] | None:
        return tflite_file.constant(self._model, self._graph.tensors[index])
