"""A `.tflite` file with the same computation in fewer bytes: what small models spend beside their weights.

Of ResNet8's int8 file, 98,616 bytes, 77,360 are weights. The rest is mostly names that converters join of every layer
that went into a tensor, a 64-bit zero point for each channel, and a buffer for each tensor that has no data. Here equal
vectors and constants are stored once, constants lose their names, and what says who converted the file goes. The
signature and its names stay: the runtime finds tensors by them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeward_converters.exporters import tflite_file
from edgeward_converters.exporters.tflite_file import Builder, stored_bytes


class _SharingBuilder(Builder):
    """Writes equal vectors and strings once; a flatbuffer may refer to one thing from several places."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], Any] = {}

    def CreateNumpyVector(self, x: NDArray[Any]) -> Any:  # noqa: N802  # flatbuffers' name
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]

    def CreateString(self, s: str | bytes, *options: Any) -> Any:  # noqa: N802  # flatbuffers' name
        text = s if isinstance(s, bytes) else s.encode()
        key = ("string", text)
        if key not in self._written:
            self._written[key] = super().CreateString(s, *options)
        return self._written[key]


def compact(content: bytes, *, cut_names: bool = False) -> bytes:
    """The same model in fewer bytes.

    Args:
        content: A `.tflite` file's bytes.
        cut_names: Whether only the first of a tensor's joined names is kept, the layer whose output it is. Whoever
            compares layers with the source's finds fewer of them by name then.

    Raises:
        ConversionError: When the file cannot be rewritten (`tflite_file`).
    """
    model = tflite_file.read(content)
    model.metadata, model.metadataBuffer, model.description = None, None, None
    tflite_file.drop_unused(model)
    for graph in model.subgraphs:
        graph.name = None
        public = {int(place) for place in (*graph.inputs, *graph.outputs)}
        for place, tensor in enumerate(graph.tensors):
            if place not in public:
                _rename(model, tensor, cut_names)
            _trim(tensor)
    _merge_buffers(model)
    return tflite_file.write(model, _SharingBuilder)


def _rename(model: Any, tensor: Any, cut_names: bool) -> None:
    """No name for constants, which nobody asks for by name."""
    if stored_bytes(model, tensor):
        tensor.name = None
    elif cut_names and tensor.name is not None:
        tensor.name = tensor.name.partition(b";")[0]


def _trim(tensor: Any) -> None:
    """Drop a shape that is said twice, and ranges that only training had a use for."""
    if tensor.shapeSignature is not None and np.array_equal(tensor.shapeSignature, tensor.shape):
        tensor.shapeSignature = None
    quantization = tensor.quantization
    if quantization is not None:
        quantization.min = quantization.max = None
        if quantization.scale is None and quantization.details is None:
            tensor.quantization = None


def _merge_buffers(model: Any) -> None:
    """One buffer for equal constants, and the first, which is empty, for all tensors without; variables keep theirs."""
    kept: list[Any] = [model.buffers[0]]
    places: dict[bytes, int] = {b"": 0}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            data = model.buffers[tensor.buffer].data
            key = b"" if data is None else np.asarray(data, np.uint8).tobytes()
            if key not in places:
                places[key] = len(kept)
                kept.append(model.buffers[tensor.buffer])
            tensor.buffer = places[key]
    model.buffers = kept
