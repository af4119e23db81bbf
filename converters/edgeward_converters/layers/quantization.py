"""What quantization does to each layer: the error of its output against the float artifact's, for the same inputs.

The error of a layer includes what came to it from the layers before: it is what the rest of the network gets.
Quantizers keep the names of tensors, so both artifacts' layers are matched by them. Layers without a name in the float
artifact (an int8 product before its scale) are counted with the layer that their result goes into.
"""

from collections.abc import Iterator, Sequence
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from edgeward_converters.layers.graph import Arrays
from edgeward_converters.layers.likeness import decibels, settled
from edgeward_converters.layers.tracing import (
    INPUT,
    OUTPUT,
    Layer,
    engine_errors,
    layers_of,
    only_moves,
    open_artifact,
    samples,
)


class LayerError(Struct, frozen=True):
    """The error of one layer's output.

    Attributes:
        name: The layer's name in the float artifact.
        operator: Its kind in the quantized one.
        sqnr_db: Signal to quantization noise over all samples, decibels: 10 log10(Σ float² / Σ (float - quantized)²);
            infinite for none, -inf where the quantized layer gives NaN or infinity.
        max_abs_error: Largest absolute difference, in the output's unit.
        weights_bytes: Of the quantized layer's constants, as stored.
    """

    name: str
    operator: str
    sqnr_db: float
    max_abs_error: float
    weights_bytes: int


def quantization_error(engine: str, float_artifact: Path, quantized_artifact: Path, inputs: Arrays) -> list[LayerError]:
    """Compare two artifacts layer by layer, one sample in memory at a time.

    Args:
        engine: litert, onnxruntime or openvino.
        float_artifact: What was quantized.
        quantized_artifact: What came of it.
        inputs: Samples by public input name, the batch axis first.

    Returns:
        The quantized artifact's layers that compute something and have a counterpart, in the order of execution.

    Raises:
        EngineError: When the engine cannot run one of them layer by layer.
    """
    reference, quantized = open_artifact(engine, float_artifact), open_artifact(engine, quantized_artifact)
    errors: dict[str, _Error] = {}
    for sample in samples(inputs):
        with engine_errors(engine, float_artifact):
            expected = layers_of(reference, sample)
        with engine_errors(engine, quantized_artifact):
            actual = layers_of(quantized, sample)
        for tensor, pair in _pairs(expected, actual).items():
            errors.setdefault(tensor, _Error(pair)).add(pair)
    return [error.of_layer() for error in errors.values()]


class _Pair(Struct, frozen=True):
    """A float layer's and a quantized layer's output for one sample."""

    name: str
    operator: str
    weights_bytes: int
    expected: NDArray[Any]
    actual: NDArray[Any]


class _Error:
    """Sums over samples for one layer's output."""

    def __init__(self, pair: _Pair) -> None:
        self._pair = pair
        self._signal, self._noise, self._largest = 0.0, 0.0, 0.0

    def add(self, pair: _Pair) -> None:
        """Count one sample in; samples whose shapes differ are an infinite error."""
        if pair.expected.shape != pair.actual.shape:
            self._noise = self._largest = inf
            return
        expected, actual = settled(pair.expected, pair.actual)
        difference = np.nan_to_num(np.abs(expected - actual), nan=inf)
        self._signal += float((expected[np.isfinite(expected)] ** 2).sum())
        self._noise += float((difference**2).sum())
        self._largest = max(self._largest, float(difference.max(initial=0.0)))

    def of_layer(self) -> LayerError:
        """What there is to say of the layer."""
        pair = self._pair
        sqnr_db = decibels(self._signal, self._noise)
        return LayerError(pair.name, pair.operator, sqnr_db, self._largest, pair.weights_bytes)


def _pairs(expected: Sequence[Layer], actual: Sequence[Layer]) -> dict[str, _Pair]:
    """By the quantized layer's tensor; weights of layers without a counterpart move on to who takes their output."""
    makers = {name: layer for layer in expected for name in layer.arrays if layer.operator != INPUT}
    same = dict(_outputs(expected, actual))
    carried: dict[str, int] = {}
    pairs: dict[str, _Pair] = {}
    for layer in actual:
        size = layer.weights_bytes + sum(carried.pop(name, 0) for name in layer.inputs)
        tensor = next((name for name in layer.arrays if same.get(name, name) in makers), None)
        if tensor is None or only_moves(layer):
            carried |= dict.fromkeys(layer.outputs[:1], size)
            continue
        maker = makers[same.get(tensor, tensor)]
        reference = maker.arrays[same.get(tensor, tensor)]
        if reference.dtype.kind == "f":
            pairs[tensor] = _Pair(maker.name, layer.operator, size, reference, layer.arrays[tensor])
    return pairs


def _outputs(expected: Sequence[Layer], actual: Sequence[Layer]) -> Iterator[tuple[str, str]]:
    """The quantized model's output tensors with the float model's: they may have other names inside."""
    public = {layer.name: layer.inputs[0] for layer in expected if layer.operator == OUTPUT}
    for layer in actual:
        if layer.operator == OUTPUT and layer.name in public:
            yield layer.inputs[0], public[layer.name]
