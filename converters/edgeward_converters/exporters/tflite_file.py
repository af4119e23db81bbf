"""`.tflite` files as objects and back, for edits that no converter offers.

flatbuffers' own writer keeps neither of two rules of TensorFlow Lite's schema: constants lie at multiples of 16 bytes,
which kernels on some processors need, and weights that lay behind the flatbuffer, as large files have them, come along.
"""

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers.builder import BuilderSizeError
from numpy.typing import NDArray

from edgeward_runtimes.errors import ConversionError

_IDENTIFIER = b"TFL3"
DTYPES = {number: name.lower() for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
_ALIGNMENT = 16


class Builder(flatbuffers.Builder):  # type: ignore[misc]
    """Aligns vectors of bytes, which are the constants, as the schema asks (`force_align: 16`)."""

    def CreateNumpyVector(self, x: NDArray[Any]) -> Any:  # noqa: N802  # flatbuffers' name
        """Write a vector; return its place."""
        if x.itemsize == 1:
            self.Prep(_ALIGNMENT, x.size)
        return super().CreateNumpyVector(x)


def read(content: bytes) -> Any:
    """The file as schema.ModelT, all weights in its buffers.

    Raises:
        ConversionError: When it is not a `.tflite` file, or keeps weights in files of their own.
    """
    if content[4:8] != _IDENTIFIER:
        raise ConversionError(f"Expected a .tflite file; this one begins with {content[:8]!r}.")
    model = schema.ModelT.InitFromPackedBuf(content)
    operators = (operator for graph in model.subgraphs for operator in graph.operators)
    if model.externalBuffers or any(operator.largeCustomOptionsOffset > 1 for operator in operators):
        raise ConversionError("This .tflite file keeps weights in other files, or custom operators behind its graph.")
    for buffer in model.buffers:
        if buffer.offset > 1:  # 0 and 1 are no offsets, says the schema
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def builtin_code(model: Any, operator: Any) -> int:
    """Which of schema.BuiltinOperator it is; old files have that in a field that ends at 127."""
    code = model.operatorCodes[operator.opcodeIndex]
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))


def stored_bytes(model: Any, tensor: Any) -> int:
    """What the file holds of a tensor: 0 for what only comes about while running."""
    data = model.buffers[tensor.buffer].data
    return 0 if data is None else len(data)


def constant(model: Any, tensor: Any) -> NDArray[Any] | None:
    """A tensor's values where it is a constant of float32 or int32, else None."""
    dtype = {schema.TensorType.FLOAT32: np.float32, schema.TensorType.INT32: np.int32}.get(tensor.type)
    if not stored_bytes(model, tensor) or dtype is None:
        return None
    shape = () if tensor.shape is None else tuple(tensor.shape)
    return np.frombuffer(np.asarray(model.buffers[tensor.buffer].data, np.uint8).tobytes(), dtype).reshape(shape)


def drop_unused(model: Any) -> None:
    """Drop what no operator has any more, after some were replaced: codes, tensors, and the values of constants.

    Tools that look at every tensor of a graph fail at those that nothing makes.
    """
    operators = [operator for graph in model.subgraphs for operator in graph.operators]
    codes = sorted({operator.opcodeIndex for operator in operators})
    model.operatorCodes = [model.operatorCodes[index] for index in codes]
    for operator in operators:
        operator.opcodeIndex = codes.index(operator.opcodeIndex)
    for number, graph in enumerate(model.subgraphs):
        _drop_tensors(graph, [each for each in model.signatureDefs or [] if each.subgraphIndex == number])
    used = {each.buffer for each in model.metadata or []}
    used |= {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    for number, buffer in enumerate(model.buffers):
        if number not in used:
            buffer.data = None


def _drop_tensors(graph: Any, signatures: list[Any]) -> None:
    lists = [getattr(each, name) for each in graph.operators for name in ("inputs", "outputs", "intermediates")]
    used = sorted(
        {int(index) for each in (*lists, graph.inputs, graph.outputs) if each is not None for index in each} - {-1}
    )
    places = {old: new for new, old in enumerate(used)} | {-1: -1}
    graph.tensors = [graph.tensors[index] for index in used]
    for holder in (*graph.operators, graph):
        for name in ("inputs", "outputs", "intermediates"):
            indices = getattr(holder, name, None)
            if indices is not None:
                setattr(holder, name, np.array([places[int(index)] for index in indices], np.int32))
    for signature in signatures:
        for entry in (*signature.inputs, *signature.outputs):
            entry.tensorIndex = places[int(entry.tensorIndex)]


def write(model: Any, making: type[Builder] = Builder) -> bytes:
    """The file's bytes, by a kind of builder. Raises ConversionError above 2 GB, which a flatbuffer cannot hold."""
    size = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    builder = making(size + 2**16)  # as large as it gets: growing copies everything
    try:
        builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    except BuilderSizeError as error:
        raise ConversionError(f"The .tflite file has {size / 2**30:.1f} GiB of weights; 2 GiB is the limit.") from error
    return bytes(builder.Output())
