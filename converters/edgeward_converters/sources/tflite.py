"""`.tflite` files as they are: packaged, quantized further, carried to other engines, and proved against themselves."""

from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from edgeward_converters.exporters.tflite_names import name_tensors
from edgeward_converters.sources import Source
from edgeward_converters.sources.recognize import Given
from edgeward_converters.sources.tensors import check_dtype, clean_names, digest, in_batches, with_batch_axis
from edgeward_runtimes.errors import EdgewardError, SourceError, one_line
from edgeward_runtimes.manifest import Tensor

# Weights of so many bits make the whole file a variant of that precision.
_PRECISIONS = {"int4": "int4", "int8": "int8", "uint8": "int8"}


def describe(given: Given, folder: Path) -> Source:
    """Say the file's tensors, floats where it stores quantized ones, and write it with a signature of those names."""
    from edgeward_runtimes.engines import Options
    from edgeward_runtimes.engines.litert import LiteRT

    try:
        session = LiteRT().open(given.path, Options())
    except (ValueError, RuntimeError) as error:
        raise SourceError(f"LiteRT cannot open {given.path}: {one_line(error)}") from error
    inputs, outputs = _tensors(session.inputs, given), _tensors(session.outputs, given)
    canonical = folder / "source.tflite"
    names = (_renamed(session.inputs, inputs), _renamed(session.outputs, outputs))
    canonical.write_bytes(name_tensors(given.path.read_bytes(), *names))
    if all(tensor.shape[:1] == (None,) for tensor in inputs):  # the outputs follow, though quantizers write 1 there
        outputs = [replace(tensor, shape=(None, *tensor.shape[1:])) for tensor in outputs]
    free_inputs, free_outputs, batch = with_batch_axis(inputs, outputs, given.named)
    return Source(
        kind="tflite",
        path=given.path,
        form="tflite",
        canonical=canonical,
        sha256=digest(given.path),
        inputs=free_inputs,
        outputs=free_outputs,
        batch=batch,
        precision=_precision(canonical),
    )


def answers(source: Source, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The file's own outputs, by LiteRT as the device has it."""
    from edgeward_runtimes.model import Model

    names = [tensor.name for tensor in source.inputs]
    with Model.of(source.canonical, "litert", source.inputs, source.outputs) as model:

        def run(arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
            predicted = model.predict(dict(zip(names, arrays, strict=True)))
            return list(predicted.values()) if isinstance(predicted, dict) else [predicted]

        try:
            results = in_batches(run, [inputs[name] for name in names], source.batch)
        except EdgewardError as error:
            raise SourceError(f"LiteRT cannot run {source.path}: {error}") from error
    return {tensor.name: array for tensor, array in zip(source.outputs, results, strict=True)}


def _tensors(ports: Any, given: Given) -> list[Tensor]:
    tensors = []
    for port, name in zip(ports, clean_names(each.name for each in ports), strict=True):
        dtype = check_dtype(port.name, "float32" if port.scale else port.dtype, given.named)
        tensors.append(Tensor(name=name, shape=port.shape, dtype=dtype))
    return tensors


def _renamed(ports: Any, tensors: list[Tensor]) -> dict[str, str]:
    return {port.name: tensor.name for port, tensor in zip(ports, tensors, strict=True)}


def _precision(path: Path) -> str:
    """The precision of most of its constant bytes: `fp32`, `fp16`, `int8` or `int4`."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(bytearray(path.read_bytes()))
    kinds = {number: name.lower() for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
    sizes: dict[str, int] = {}
    for tensor in model.subgraphs[0].tensors:
        data = model.buffers[tensor.buffer].data
        if data is not None:
            sizes[kinds[tensor.type]] = sizes.get(kinds[tensor.type], 0) + int(np.size(data))
    most = max(sizes, key=lambda kind: sizes[kind], default="float32")
    return _PRECISIONS.get(most, "fp16" if most == "float16" else "fp32")
