"""Operators for a `.tflite` graph, written one after another: float32, every shape known."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

_NONE = -1  # an optional input that is not given
_ROWS = 2  # a dense layer of more axes keeps them since its version 5


class Writer:
    """Collects operators; a tensor goes by its index in the graph.

    Attributes:
        operators: What was written, in order; the caller puts them into the graph.
    """

    def __init__(self, model: Any, graph: Any, prefix: str) -> None:
        """New tensors are named `prefix/NUMBER`."""
        self.operators: list[Any] = []
        self._model, self._graph, self._prefix = model, graph, prefix

    def shape(self, tensor: int) -> tuple[int, ...]:
        """A tensor's shape."""
        return tuple(int(size) for size in self._graph.tensors[tensor].shape)

    def like(self, tensor: int) -> int:
        """A new tensor of the same shape and type, for an operator that is there."""
        return self._tensor(self.shape(tensor), self._graph.tensors[tensor].type)

    def constant(self, array: NDArray[Any]) -> int:
        """A constant of float32 or int32."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        kind = schema.TensorType.INT32 if array.dtype == np.int32 else schema.TensorType.FLOAT32
        return self._tensor(array.shape, kind, len(self._model.buffers) - 1)

    def dense(self, x: int, weights: int, bias: int = _NONE, into: int | None = None, activation: int = 0) -> int:
        """x (…, width) · weights (units, width), transposed, + bias (units,), into a tensor that is there if given.

        `activation` is one of schema.ActivationFunctionType; 0 is none.
        """
        given, units = self.shape(x), self.shape(weights)[0]
        options = {"fusedActivationFunction": activation, "keepNumDims": len(given) > _ROWS}
        shapes = [(*given[:-1], units)]
        return self._write("FullyConnected", "FULLY_CONNECTED", [x, weights, bias], shapes, into, **options)[0]

    def add(self, a: int, b: int) -> int:
        """a + b, of one shape."""
        return self._write("Add", "ADD", [a, b], [self.shape(a)])[0]

    def subtract(self, a: int, b: int) -> int:
        """a - b, of one shape."""
        return self._write("Sub", "SUB", [a, b], [self.shape(a)])[0]

    def multiply(self, a: int, b: int) -> int:
        """a ∘ b, of a's shape."""
        return self._write("Mul", "MUL", [a, b], [self.shape(a)])[0]

    def activate(self, x: int, function: str) -> int:
        """LOGISTIC, TANH or RELU of x."""
        return self._write("", function, [x], [self.shape(x)])[0]

    def split(self, x: int, parts: int, axis: int) -> list[int]:
        """x in equal parts."""
        shape = list(self.shape(x))
        shape[axis] //= parts
        inputs = [self.constant(np.array(axis, np.int32)), x]
        return self._write("Split", "SPLIT", inputs, [shape] * parts, numSplits=parts)

    def slice(self, x: int, begin: Sequence[int], shape: Sequence[int]) -> int:
        """The part of x that begins there and has this shape."""
        edges = [self.constant(np.array(each, np.int32)) for each in (begin, shape)]
        return self._write("Slice", "SLICE", [x, *edges], [shape])[0]

    def reshape(self, x: int, shape: Sequence[int], into: int | None = None) -> int:
        """x in another shape, in a tensor that is there already if it is given."""
        sizes = np.array(shape, np.int32)
        return self._write("Reshape", "RESHAPE", [x, self.constant(sizes)], [shape], into, newShape=sizes)[0]

    def pad(self, x: int, edges: int, into: int) -> None:
        """x with zeros around it, (axes, 2), in a tensor that is there already."""
        self._write("Pad", "PAD", [x, edges], [], into)

    def join(self, parts: Sequence[int]) -> int:
        """The parts one after another, along the first axis."""
        first = self.shape(parts[0])
        return self._write("Concatenation", "CONCATENATION", parts, [(len(parts) * first[0], *first[1:])], axis=0)[0]

    def _write(
        self,
        options_name: str,
        name: str,
        inputs: Sequence[int],
        shapes: Sequence[Sequence[int]],
        into: int | None = None,
        **options: Any,
    ) -> list[int]:
        """An operator by its name in schema.BuiltinOperator, with its options' in schema.BuiltinOptions."""
        outputs = [self._tensor(shape) for shape in shapes] if into is None else [into]
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(getattr(schema.BuiltinOperator, name), 5 if options.get("keepNumDims") else 1)
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        if options_name:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{options_name}Options")
            operator.builtinOptions = getattr(schema, f"{options_name}OptionsT")(**options)
        self.operators.append(operator)
        return outputs

    def _code(self, number: int, version: int) -> int:
        codes = self._model.operatorCodes
        for index, code in enumerate(codes):
            if code.builtinCode == number and code.version == version:
                return index
        codes.append(schema.OperatorCodeT(builtinCode=number, deprecatedBuiltinCode=number, version=version))
        return len(codes) - 1

    def _tensor(self, shape: Sequence[int], kind: int = schema.TensorType.FLOAT32, buffer: int = 0) -> int:
        name = f"{self._prefix}/{len(self._graph.tensors)}"
        self._graph.tensors.append(schema.TensorT(shape=np.array(shape, np.int32), type=kind, buffer=buffer, name=name))
        return len(self._graph.tensors) - 1
