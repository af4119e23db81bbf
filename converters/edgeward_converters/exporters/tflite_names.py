"""Public names for a `.tflite` file's tensors: one signature, `serving_default`, whose keys are the manifest's names.

The runtime finds tensors by that signature, and ai-edge-quantizer calibrates through it. Converters give their own
(`args_0`, `output_0`) or none at all.
"""

from collections.abc import Sequence
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from edgeward_runtimes.errors import ConversionError

SIGNATURE = "serving_default"


def name_tensors(content: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """The model with these names for its inputs and outputs, in the order of its only signature's or graph's own.

    Args:
        content: A `.tflite` file's bytes.
        inputs: One name per input. The order is that of the file's only signature where it has one (litert-torch
            numbers its keys: `args_0`, `args_1` …), else of the graph's inputs.
        outputs: As for inputs.

    Raises:
        ConversionError: When the numbers differ, or weights lie outside of the flatbuffer, as in files above 2 GB.
    """
    model = schema.ModelT.InitFromPackedBuf(bytearray(content))
    if any(buffer.offset > 1 for buffer in model.buffers):
        raise ConversionError(
            "This .tflite file keeps weights behind its flatbuffer, as files above 2 GB do; expected less."
        )
    signatures = model.signatureDefs or []
    graph_index = signatures[0].subgraphIndex if len(signatures) == 1 else 0
    graph = model.subgraphs[graph_index]
    given = signatures[0] if len(signatures) == 1 else None
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE.encode(), graph_index
    signature.inputs = _named(graph, _indices(graph.inputs, given and given.inputs), inputs, "input")
    signature.outputs = _named(graph, _indices(graph.outputs, given and given.outputs), outputs, "output")
    model.signatureDefs = [signature]
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _indices(graph_order: Any, signature_maps: Any) -> list[int]:
    """The tensors in public order: as the signature's numbered keys say, else as the graph has them."""
    if not signature_maps or len(signature_maps) != len(graph_order):
        return [int(index) for index in graph_order]
    keys = [(_number(each.name.decode()), int(each.tensorIndex)) for each in signature_maps]
    if any(number is None for number, _ in keys):
        return [int(index) for index in graph_order]
    return [index for _, index in sorted(keys, key=lambda key: key[0] or 0)]


def _number(key: str) -> int | None:
    _, _, digits = key.rpartition("_")
    return int(digits) if digits.isdigit() else None


def _named(graph: Any, indices: list[int], names: Sequence[str], kind: str) -> list[Any]:
    if len(indices) != len(names):
        raise ConversionError(f"The .tflite file has {len(indices)} {kind}s; expected {len(names)}: {list(names)}.")
    maps = []
    for index, name in zip(indices, names, strict=True):
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name.encode(), index
        graph.tensors[index].name = name.encode()
        maps.append(entry)
    return maps
