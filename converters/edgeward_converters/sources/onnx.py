"""ONNX files, with their weights inside or as external data beside them; onnxruntime gives their answers."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeward_converters.sources import Run, Source, described
from edgeward_converters.sources.recognize import Given
from edgeward_converters.sources.tensors import check_dtype, clean_names
from edgeward_runtimes.errors import SourceError, one_line
from edgeward_runtimes.manifest import Tensor

_LARGEST_INLINE = 2**31 - 2**20  # protobuf's limit, with room for the graph itself


def describe(given: Given, folder: Path) -> Source:
    """Check the model and write it with usable names, weights inside."""
    import onnx

    model = _load(given)
    inputs, outputs = _tensors(_real_inputs(model), given), _tensors(list(model.graph.output), given)
    _forget_default_inputs(model)
    rename(model, [tensor.name for tensor in inputs], [tensor.name for tensor in outputs])
    canonical = folder / "source.onnx"
    onnx.save(model, str(canonical))
    _check_runs(canonical, given)
    return described(given, "onnx", canonical, inputs, outputs)


def runner(source: Source) -> Run:
    """The model, by onnxruntime with its optimizations off: nothing is fused that could round otherwise."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(source.canonical), options, providers=["CPUExecutionProvider"])
    names, wanted = [tensor.name for tensor in source.inputs], [tensor.name for tensor in source.outputs]
    return lambda arrays: list(session.run(wanted, dict(zip(names, arrays, strict=True))))


def rename(model: Any, inputs: list[str], outputs: list[str]) -> None:
    """Give the graph's inputs and outputs these names, wherever a node mentions them, in subgraphs too."""
    graph = model.graph
    wanted = {
        **{given.name: name for given, name in zip(graph.input, inputs, strict=True)},
        **{given.name: name for given, name in zip(graph.output, outputs, strict=True) if given.name != name},
    }
    # Inner tensors that happen to have a public name step aside first.
    aside = {name: f"inner_{name}" for name in wanted.values() if name not in wanted}
    _rename_in(graph, {**aside, **wanted})


def rename_node(node: Any, renamed: Mapping[str, str]) -> None:
    """Give the tensors of one node other names, in its subgraphs too."""
    node.input[:] = [renamed.get(name, name) for name in node.input]
    node.output[:] = [renamed.get(name, name) for name in node.output]
    for attribute in node.attribute:
        for subgraph in (attribute.g, *attribute.graphs):
            _rename_in(subgraph, renamed)


def _rename_in(graph: Any, renamed: Mapping[str, str]) -> None:
    for node in graph.node:
        rename_node(node, renamed)
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = renamed.get(value.name, value.name)


def _load(given: Given) -> Any:
    import onnx

    try:
        model = onnx.load(str(given.path))
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's DecodeError, the checker's own, and what damaged lengths bring about
        if isinstance(error, FileNotFoundError) or re.search(r"external|should be stored in", str(error)):
            raise SourceError(
                f"{given.path} keeps its weights in another file, which cannot be read: {one_line(error)}. "
                "Put that file beside it."
            ) from error
        raise SourceError(f"{given.path} is no valid ONNX model: {type(error).__name__}: {one_line(error)}") from error
    if model.ByteSize() > _LARGEST_INLINE:
        raise SourceError(f"{given.path} has {model.ByteSize() / 2**30:.1f} GiB with its weights; 2 GiB is the limit.")
    if not _real_inputs(model) or not model.graph.output:
        raise SourceError(f"{given.path} is an ONNX model without inputs or without outputs: nothing to predict with.")
    return model


def _check_runs(canonical: Path, given: Given) -> None:
    """What the checker lets through may still be refused by onnxruntime: types that do not fit, operators unknown."""
    import onnxruntime

    try:
        onnxruntime.InferenceSession(str(canonical), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise SourceError(f"onnxruntime cannot open {given.path}: {one_line(error)}") from error


def _real_inputs(model: Any) -> list[Any]:
    """The graph's inputs without those that are weights: old exporters list them as well."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def _forget_default_inputs(model: Any) -> None:
    real = _real_inputs(model)
    del model.graph.input[:]
    model.graph.input.extend(real)


def _tensors(values: list[Any], given: Given) -> list[Tensor]:
    from onnx.helper import tensor_dtype_to_np_dtype

    tensors = []
    for value, name in zip(values, clean_names(each.name for each in values), strict=True):
        kind = value.type.tensor_type
        if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
            raise SourceError(
                f"{given.named} has {value.name!r}, which is no tensor of known rank; edgeward needs one."
            )
        dtype = check_dtype(value.name, str(tensor_dtype_to_np_dtype(kind.elem_type)), given.named)
        shape = tuple(dim.dim_value if dim.dim_value > 0 else None for dim in kind.shape.dim)  # some write 0 or -1
        tensors.append(Tensor(name=name, shape=shape, dtype=dtype))
    return tensors
