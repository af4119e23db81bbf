"""Samples through a model, with every layer's output: what `locate` and the report look at.

Each sample runs alone, as a batch of one, so a layer's outputs can be told apart by sample whatever its axes are; where
a model takes one other batch size, the sample fills it. Memory is what one sample's activations take, times the
samples asked for: `samples_within` says how many fit.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from edgeward_converters.layers.graph import Arrays, Graph, Tracer
from edgeward_converters.sources import Source
from edgeward_runtimes.errors import EdgewardError, EngineError, SourceError, one_line

INPUT, OUTPUT = "Input", "Output"
# Of these there may be one before a layer that its source has not: for padding, for another layout or format.
_MOVES = re.compile(
    "batchtospace|broadcast|cast|convert|expand|expanddims|flatten|pad|permute|reshape|slice|spacetobatch|squeeze"
    "|stridedslice|transpose|unsqueeze|view"
)
_TRACERS = {"litert": "LiteRTTracer", "onnxruntime": "OnnxRuntimeTracer", "openvino": "OpenVinoTracer"}


class Layer(Struct, frozen=True):
    """One layer of a model that ran.

    The first layers are the model's inputs (operator `Input`), the last its outputs (operator `Output`, which gives no
    tensor but takes one); both have their public names.

    Attributes:
        name: The layer's name in its file.
        operator: Its kind, in the words of its framework.
        weights_bytes: Of its constants, as the file stores them; each constant counts with its first user.
        inputs: The tensors that it takes, without constants.
        outputs: The tensors that it gives.
        arrays: Their values by name, (samples, *shape for one sample): floats as float32, also where the model stores
            quantized numbers; indices and shapes as integers. Tensors that no array can hold, and those whose shape
            depends on the sample, are left out.
    """

    name: str
    operator: str
    weights_bytes: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    arrays: dict[str, NDArray[Any]]


class LayerSize(Struct, frozen=True):
    """What a layer's constants take in the file, in bytes."""

    name: str
    operator: str
    weights_bytes: int


def trace(engine: str, artifact: Path, inputs: Arrays) -> list[Layer]:
    """Run samples through an artifact.

    Args:
        engine: litert, onnxruntime or openvino.
        artifact: The file that the engine opens.
        inputs: By public name, the batch axis first.

    Returns:
        Every layer, in the order of execution.

    Raises:
        EngineError: When the engine cannot open or run it layer by layer.
    """
    tracer = open_artifact(engine, artifact)
    with engine_errors(engine, artifact):
        return stacked([layers_of(tracer, sample) for sample in samples(inputs)])


def trace_source(source: Source, inputs: Arrays) -> list[Layer]:
    """Run samples through a source model, as `trace` does.

    Keras layers keep their own names; what a layer does inside is named `layer/operation`. PyTorch operations are named
    by their module.

    Raises:
        SourceError: When its framework cannot run it layer by layer.
    """
    tracer = open_source(source)
    with source_errors(source):
        return stacked([layers_of(tracer, sample) for sample in samples(inputs)])


def sizes(engine: str, artifact: Path) -> list[LayerSize]:
    """What each layer takes in the file, without running it. Raises EngineError."""
    with engine_errors(engine, artifact):
        graph: Graph = _module(engine).read(artifact)
    return [LayerSize(each.name, each.operator, each.weights_bytes) for each in graph.operations]


def open_artifact(engine: str, artifact: Path) -> Tracer:
    """Open an artifact for tracing. Raises EngineError."""
    with engine_errors(engine, artifact):
        make: Callable[[Path], Tracer] = getattr(_module(engine), _TRACERS[engine])
        return make(artifact)


def open_source(source: Source) -> Tracer:
    """Open a source model for tracing. Raises SourceError."""
    if source.form in ("onnx", "tflite"):
        return open_artifact({"onnx": "onnxruntime", "tflite": "litert"}[source.form], source.canonical)
    with source_errors(source):
        make: Callable[[Source], Tracer] = import_module(f"{__package__}.{source.kind}").open_tracer
        return make(source)


def samples(inputs: Arrays) -> Iterator[Arrays]:
    """One sample after another, each a batch of one."""
    for index in range(len(next(iter(inputs.values())))):
        yield {name: array[index : index + 1] for name, array in inputs.items()}


def layers_of(tracer: Tracer, sample: Arrays) -> list[Layer]:
    """All layers for one sample; their arrays have that sample as their first axis.

    Inputs are matched by name where all names agree, else by their order, as the runtime does it.
    """
    batch, names = tracer.batch or 1, list(tracer.graph.inputs)
    names = list(sample) if set(names) == set(sample) else names
    given = dict(zip(names, sample.values(), strict=True))
    values = tracer.run({name: np.repeat(array, batch, axis=0) for name, array in given.items()})
    if batch > 1:  # the same sample fills the batch: the first speaks for all
        values = {name: array[:1] if array.shape[:1] == (batch,) else array for name, array in values.items()}
    graph = tracer.graph

    def layer(name: str, operator: str, size: int, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Layer:
        read = {output: values.get(graph.readings.get(output, output)) for output in outputs}
        arrays = {output: array[np.newaxis] for output, array in read.items() if array is not None}
        return Layer(name, operator, size, inputs, outputs, arrays)

    return [
        *(layer(public, INPUT, 0, (), (tensor,)) for public, tensor in graph.inputs.items()),
        *(layer(each.name, each.operator, each.weights_bytes, each.inputs, each.outputs) for each in graph.operations),
        *(layer(public, OUTPUT, 0, (tensor,), ()) for public, tensor in graph.outputs.items()),
    ]


def stacked(runs: Sequence[list[Layer]]) -> list[Layer]:
    """The layers of several samples as one list, their values side by side."""
    return [replace(same[0], arrays=_joined([each.arrays for each in same])) for same in zip(*runs, strict=True)]


def samples_within(budget_bytes: int, layers: Iterable[Layer]) -> int:
    """How many samples fit into so many bytes, at least one, going by the layers of one."""
    size = sum(array.nbytes for layer in layers for array in layer.arrays.values())
    return max(1, budget_bytes // max(size, 1))


def only_moves(layer: Layer) -> bool:
    """Whether the layer puts numbers elsewhere and computes none."""
    return _MOVES.fullmatch(re.sub(r"_|(v\d|nd|to)$", "", layer.operator.lower())) is not None


@contextmanager
def engine_errors(engine: str, artifact: Path) -> Iterator[None]:
    """Whatever an engine raises is an EngineError that names the artifact."""
    if engine not in _TRACERS:
        raise EngineError(f"edgeward looks into artifacts of {', '.join(_TRACERS)}; {artifact.name} is for {engine!r}.")
    try:
        yield
    except (EdgewardError, ModuleNotFoundError):
        raise
    except Exception as error:  # each engine has exceptions of its own
        raise EngineError(f"{engine} cannot run {artifact.name} layer by layer: {one_line(error)}") from error


@contextmanager
def source_errors(source: Source) -> Iterator[None]:
    """Whatever a framework raises is a SourceError that names the source."""
    try:
        yield
    except (EdgewardError, ModuleNotFoundError):
        raise
    except Exception as error:
        raise SourceError(f"{source.path} cannot be run layer by layer: {one_line(error)}") from error


def _joined(runs: Sequence[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    joined = {}
    for name in runs[0]:
        arrays = [each[name] for each in runs if name in each]
        if len(arrays) == len(runs) and len({array.shape for array in arrays}) == 1:
            joined[name] = np.concatenate(arrays)
    return joined


def _module(engine: str) -> Any:
    return import_module(f"{__package__}.{engine}")
