"""The layers of a `.tflite` file: operators from the flatbuffer, values from an interpreter that keeps them all.

No delegate runs, so what an operator gives is what LiteRT's own kernel gives. Operators in the bodies of WHILE and IF
are not shown: the WHILE is one layer.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeward_converters.layers.graph import Graph, Operation, as_floats, graph_of

_CARRIERS = frozenset({"QUANTIZE", "DEQUANTIZE"})
_BATCH_OPEN = -1


class LiteRTTracer:
    """An interpreter over the whole file; see `graph.Tracer`."""

    def __init__(self, artifact: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        content = artifact.read_bytes()
        self._file = _File(content)
        self.graph = self._file.graph()
        self._interpreter = Interpreter(
            model_content=content,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        self._interpreter.allocate_tensors()
        self._details = {detail["index"]: detail for detail in self._interpreter.get_tensor_details()}
        self.batch = self._fixed_batch()

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run one batch."""
        places = {public: self._file.indices[tensor] for public, tensor in self.graph.inputs.items()}
        for public, index in places.items():
            if tuple(self._details[index]["shape"]) != inputs[public].shape:
                self._interpreter.resize_tensor_input(index, inputs[public].shape)
        self._interpreter.allocate_tensors()
        for public, index in places.items():
            self._interpreter.set_tensor(index, _stored(inputs[public], self._details[index]))
        self._interpreter.invoke()
        values = {tensor: as_floats(inputs[public]) for public, tensor in self.graph.inputs.items()}
        for name in self.graph.worth_reading():
            index = self._file.indices[name]
            try:
                array = self._interpreter.get_tensor(index)
            except (ValueError, RuntimeError):  # resources and variants have no array
                continue
            values[name] = _meant(np.asarray(array), self._details[index])
        return values

    def _fixed_batch(self) -> int | None:
        sizes = [
            self._details[self._file.indices[tensor]]["shape_signature"][:1] for tensor in self.graph.inputs.values()
        ]
        return next((int(size[0]) for size in sizes if len(size) and size[0] != _BATCH_OPEN), None)


def read(artifact: Path) -> Graph:
    """The graph alone, without running it."""
    return _File(artifact.read_bytes()).graph()


class _File:
    """A parsed flatbuffer: its main graph, with a unique name for every tensor."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._model = schema.Model.GetRootAs(content)
        self._subgraph = self._model.Subgraphs(0)
        self._operators = {
            number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)
        }
        self.names = _unique(
            [
                (self._subgraph.Tensors(index).Name() or b"").decode(errors="replace")
                for index in range(self._subgraph.TensorsLength())
            ]
        )
        self.indices = {name: index for index, name in enumerate(self.names)}

    def graph(self) -> Graph:
        """The main graph."""
        inputs, outputs = self._public(is_output=False), self._public(is_output=True)
        return graph_of(self._operations(), self._constants(), inputs, outputs, _CARRIERS)

    def _operations(self) -> list[Operation]:
        operations = []
        for place in range(self._subgraph.OperatorsLength()):
            operator = self._subgraph.Operators(place)
            inputs = [operator.Inputs(index) for index in range(operator.InputsLength())]
            outputs = tuple(self.names[operator.Outputs(index)] for index in range(operator.OutputsLength()))
            operations.append(
                Operation(
                    name=outputs[0] if outputs else f"operator {place}",
                    operator=self._kind(operator.OpcodeIndex()),
                    inputs=tuple(self.names[index] for index in inputs if index >= 0),
                    outputs=outputs,
                )
            )
        return operations

    def _kind(self, opcode: int) -> str:
        code = self._model.OperatorCodes(opcode)
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        kind = self._operators.get(number, str(number))
        return (code.CustomCode() or b"CUSTOM").decode(errors="replace") if kind == "CUSTOM" else kind

    def _constants(self) -> dict[str, int]:
        sizes = {}
        for index, name in enumerate(self.names):
            buffer = self._model.Buffers(self._subgraph.Tensors(index).Buffer())
            size = buffer.DataLength() or (buffer.Size() if buffer.Size() > 1 else 0)
            if size:
                sizes[name] = size
        return sizes

    def _public(self, is_output: bool) -> dict[str, str]:
        """Public name → tensor: by the signature where there is exactly one, as the runtime has it."""
        if self._model.SignatureDefsLength() == 1:
            signature = self._model.SignatureDefs(0)
            count = signature.OutputsLength() if is_output else signature.InputsLength()
            maps = [signature.Outputs(index) if is_output else signature.Inputs(index) for index in range(count)]
            return {each.Name().decode(): self.names[each.TensorIndex()] for each in maps}
        subgraph = self._subgraph
        indices = subgraph.OutputsAsNumpy() if is_output else subgraph.InputsAsNumpy()
        return {self.names[index]: self.names[index] for index in indices}


def _unique(names: list[str]) -> list[str]:
    taken: set[str] = set()
    for index, name in enumerate(names):
        unique = name if name and name not in taken else f"{name}#{index}"
        taken.add(unique)
        names[index] = unique
    return names


def _meant(array: NDArray[Any], detail: Any) -> NDArray[Any]:
    """The floats that quantized numbers stand for; the tensor's scale and zero point, per axis where it has several."""
    parameters = detail["quantization_parameters"]
    scales = parameters["scales"]
    if array.dtype.kind not in "iu" or not len(scales):
        return as_floats(array)
    shape = [1] * array.ndim
    if len(scales) > 1:
        shape[parameters["quantized_dimension"]] = len(scales)
    shift = np.asarray(parameters["zero_points"], np.float32).reshape(shape if len(scales) > 1 else ())
    scale = np.asarray(scales, np.float32).reshape(shape if len(scales) > 1 else ())
    meant: NDArray[Any] = (array.astype(np.float32) - shift) * scale
    return meant


def _stored(array: NDArray[Any], detail: Any) -> NDArray[Any]:
    """An input as the tensor stores it: floats for an integer tensor are quantized."""
    scale, zero_point = detail["quantization"]
    dtype = np.dtype(detail["dtype"])
    if array.dtype.kind == "f" and dtype.kind in "iu" and scale:
        limits = np.iinfo(dtype)
        array = np.clip(np.rint(array / scale) + zero_point, limits.min, limits.max)
    return np.ascontiguousarray(array.astype(dtype, copy=False))
