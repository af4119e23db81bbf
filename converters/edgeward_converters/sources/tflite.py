"""`.tflite` files as they are: packaged, quantized further, carried to other engines, and proved against themselves."""

from collections import Counter
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from edgeward_converters.exporters import tflite_file
from edgeward_converters.exporters.tflite_names import name_tensors
from edgeward_converters.sources import Run, Source, described
from edgeward_converters.sources.recognize import Given
from edgeward_converters.sources.tensors import Array, check_dtype, clean_names
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
    return described(given, "tflite", canonical, inputs, outputs, _precision(canonical))


def runner(source: Source) -> Run:
    """The file, by LiteRT as the device has it."""
    from edgeward_runtimes.model import Model

    model = Model.of(source.canonical, "litert", source.inputs, source.outputs)
    names = [tensor.name for tensor in source.inputs]

    def run(arrays: list[Array]) -> list[Array]:
        try:
            predicted = model.predict(dict(zip(names, arrays, strict=True)))
        except EdgewardError as error:
            raise SourceError(f"LiteRT cannot run {source.path}: {error}") from error
        return list(predicted.values()) if isinstance(predicted, dict) else [predicted]

    return run


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
    model = tflite_file.read(path.read_bytes())
    sizes: Counter[str] = Counter()
    for tensor in model.subgraphs[0].tensors:
        sizes[tflite_file.DTYPES[tensor.type]] += tflite_file.stored_bytes(model, tensor)
    most = max(sizes, key=lambda kind: sizes[kind], default="float32")
    return _PRECISIONS.get(most, "fp16" if most == "float16" else "fp32")
