"""Public names for a `.tflite` file's tensors: one signature, `serving_default`, whose keys are the manifest's names.

The runtime finds tensors by that signature, and ai-edge-quantizer calibrates through it. Converters give their own
(`args_0`, `output_0`) or none at all.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgeward_converters.exporters import tflite_file
from edgeward_converters.sources import SIGNATURE
from edgeward_runtimes.errors import ConversionError

# New names in the graph's order (litert-torch's is that of the arguments), or by the names that there are now.
Names = Sequence[str] | Mapping[str, str]


def name_tensors(content: bytes, inputs: Names, outputs: Names) -> bytes:
    """The model with these names for its inputs and outputs, in its one signature and in its graph.

    Args:
        content: A `.tflite` file's bytes.
        inputs: All inputs' new names. As a sequence, in the graph's order. As a mapping, by the names that the runtime
            finds in the file: those of its only signature, else of its first graph's tensors.
        outputs: As for inputs.

    Raises:
        ConversionError: When the names do not fit the file, a name is given twice, or the file cannot be rewritten
            (`tflite_file`).
    """
    model = tflite_file.read(content)
    signatures = model.signatureDefs or []
    given = signatures[0] if len(signatures) == 1 else None  # of several, the runtime heeds none
    graph_index = given.subgraphIndex if given else 0
    graph = model.subgraphs[graph_index]
    given_inputs, given_outputs = (given.inputs, given.outputs) if given else (None, None)
    named_inputs = _indices(graph, graph.inputs, given_inputs, inputs, "input")
    named_outputs = _indices(graph, graph.outputs, given_outputs, outputs, "output")
    _rename(graph, {**named_outputs, **named_inputs})
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE, graph_index
    signature.inputs = [_entry(*each) for each in named_inputs.items()]
    signature.outputs = [_entry(*each) for each in named_outputs.items()]
    model.signatureDefs = [signature]
    return tflite_file.write(model)


def _indices(graph: Any, order: Any, signature: Any, names: Names, kind: str) -> dict[str, int]:
    """The tensors' indices by new name."""
    if isinstance(names, Mapping):
        old, new = list(names), list(names.values())
        places = [(each.name.decode(), int(each.tensorIndex)) for each in signature or []]
        by_name = dict(places or [(graph.tensors[index].name.decode(), int(index)) for index in order])
        if set(old) != set(by_name):
            raise ConversionError(f"The .tflite file's {kind}s are {sorted(by_name)}; expected {sorted(old)}.")
        indices = [by_name[name] for name in old]
    else:
        new, indices = list(names), [int(index) for index in order]
        if len(new) != len(indices):
            raise ConversionError(f"The .tflite file has {len(indices)} {kind}s; expected {len(new)}: {new}.")
    if len(set(new)) != len(new):
        raise ConversionError(f"Each {kind} of a .tflite file needs a name of its own; given were {new}.")
    return dict(zip(new, indices, strict=True))


def _rename(graph: Any, named: dict[str, int]) -> None:
    """Name the tensors; an inner one that happens to have such a name steps aside, as quantizers go by name."""
    public = set(named.values())
    for index, tensor in enumerate(graph.tensors):
        if index not in public and tensor.name is not None and tensor.name.decode() in named:
            tensor.name = f"inner_{tensor.name.decode()}"
    for name, index in named.items():
        graph.tensors[index].name = name


def _entry(name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry
