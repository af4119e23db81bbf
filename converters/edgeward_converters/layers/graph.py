"""What a model is made of, whoever wrote it: operations in the order of their execution, and the tensors between them.

Every reader (`litert`, `onnxruntime`, …) lists its operations and constants as they stand in the file; `graph_of` makes
them comparable:

- An operation on constants alone belongs to whoever uses its result: dequantized weights are weights.
- An operation that only carries a number into another format (QUANTIZE, DequantizeLinear, FakeQuantize, Identity) is
  no layer. The layer before it has its value, as rounded there. On a graph's input it stays: nobody is before it.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]


class Operation(Struct, frozen=True):
    """One operation. `inputs` and `outputs` are names of tensors; `weights_bytes` those of its constants, as stored."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights_bytes: int = 0


class Graph(Struct, frozen=True):
    """Operations in execution order.

    `inputs` and `outputs` give the tensor of each public name. `readings` gives, for a tensor that something carries
    into another format, the tensor whose value to take for it.
    """

    operations: tuple[Operation, ...]
    inputs: dict[str, str]
    outputs: dict[str, str]
    readings: dict[str, str] = {}

    def worth_reading(self) -> list[str]:
        """The tensors that hold the value of some operation's output."""
        return [self.readings.get(name, name) for operation in self.operations for name in operation.outputs]


class Tracer(Protocol):
    """An opened model that shows its inner tensors.

    `batch` is the one batch size that it takes, or None. `graph` is final once `run` was called.
    """

    batch: int | None

    @property
    def graph(self) -> Graph:
        """What it is made of."""

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Run one batch, inputs by public name; give the values of the tensors worth reading, and of the inputs.

        Quantized numbers come as the floats that they stand for; tensors that no array can hold are left out.
        """


def graph_of(
    operations: Iterable[Operation],
    constants: Mapping[str, int],
    inputs: dict[str, str],
    outputs: dict[str, str],
    carriers: frozenset[str] = frozenset(),
) -> Graph:
    """Fold constants and leave out carriers; see the module's text.

    Args:
        operations: As they stand in the file.
        constants: Stored bytes by tensor.
        inputs: Tensor by the graph's public input name.
        outputs: Tensor by the graph's public output name.
        carriers: Operators that change a number's format and nothing else.
    """
    folded = _folded(operations, constants, set(inputs.values()))
    kept: list[Operation] = []
    stands_for: dict[str, str] = {}
    readings: dict[str, str] = {}
    fixed = set(inputs.values())
    for operation in folded:
        moved = replace(operation, inputs=tuple(stands_for.get(name, name) for name in operation.inputs))
        carried = moved.inputs[0] if moved.inputs and operation.operator in carriers else None
        if carried is None or carried in fixed:
            kept.append(moved)
            continue
        for name in operation.outputs:
            stands_for[name] = carried
            readings[carried] = name
    named = {public: stands_for.get(tensor, tensor) for public, tensor in outputs.items()}
    return Graph(tuple(kept), inputs, named, readings)


def _folded(operations: Iterable[Operation], constants: Mapping[str, int], given: set[str]) -> list[Operation]:
    """Operations with activations alone as inputs; each constant's bytes are counted with whoever uses it first."""
    unspent = dict(constants)
    kept = []
    for operation in operations:
        activations = tuple(name for name in operation.inputs if name not in unspent)
        size = operation.weights_bytes
        for name in dict.fromkeys(name for name in operation.inputs if name in unspent):
            size += unspent[name]
            unspent[name] = 0
        if activations or given & set(operation.outputs):
            kept.append(replace(operation, inputs=activations, weights_bytes=size))
        elif operation.outputs:
            unspent |= dict.fromkeys(operation.outputs, 0)
            unspent[operation.outputs[0]] = size
    return kept


def as_floats(array: NDArray[Any]) -> NDArray[Any]:
    """Floats of any width as float32; integers and booleans as they are."""
    if array.dtype.kind != "f" or array.dtype == np.float32:
        return array
    with np.errstate(over="ignore"):
        return array.astype(np.float32)
