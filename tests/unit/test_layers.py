"""Layer by layer, without any engine: tensors are recognized in any layout, and the first layer that departs is named.

The networks are drawn by hypothesis and computed by numpy, once as the source and once as a variant that fuses,
transposes, renames and decomposes as converters do, with one fault put into one layer.
"""

import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from edgeward_converters.layers import largest_error, locate
from edgeward_converters.layers.counterparts import match
from edgeward_converters.layers.graph import Graph, Operation, graph_of
from edgeward_converters.layers.likeness import SAME_DB, compare, is_telling
from edgeward_converters.layers.tracing import INPUT, OUTPUT, Layer, samples_within

SHAPE = (4, 5, 6)  # height, width, channels of every tensor
SAMPLES = 2


@given(st.permutations([1, 2, 3]), st.integers(0, 2**32 - 1))
def test_a_tensor_is_recognized_whatever_the_order_of_its_axes(order: list[int], seed: int) -> None:
    reference = np.random.default_rng(seed).normal(size=(SAMPLES, *SHAPE)).astype(np.float32)
    found = compare(reference, reference.transpose(0, *order))
    assert found is not None
    assert (found.max_abs_error, found.cosine, found.is_aligned) == (0.0, 1.0, True)


@given(st.permutations([1, 2, 3]), st.integers(0, 2**32 - 1))
def test_a_flattened_tensor_is_recognized_whatever_it_was_flattened_from(order: list[int], seed: int) -> None:
    reference = np.random.default_rng(seed).normal(size=(SAMPLES, *SHAPE)).astype(np.float32)
    flat = reference.transpose(0, *order).reshape(SAMPLES, -1)
    for pair in ((reference, flat), (flat, reference)):
        found = compare(*pair)
        assert found is not None
        assert (found.max_abs_error, found.is_aligned) == (0.0, True)


def test_two_flattened_tensors_are_recognized_by_their_values() -> None:
    reference = np.random.default_rng(0).normal(size=(SAMPLES, 120)).astype(np.float32)
    found = compare(reference, reference[:, np.random.default_rng(1).permutation(120)])
    assert found is not None
    assert (found.max_abs_error, found.is_aligned) == (0.0, False)


@given(st.floats(1e-3, 1.0), st.integers(0, 2**32 - 1))
def test_the_figures_are_those_of_the_difference(noise: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    reference = random.normal(size=(SAMPLES, *SHAPE)).astype(np.float32)
    actual = (reference + noise * random.normal(size=reference.shape)).astype(np.float32)
    found = compare(reference, actual)
    assert found is not None
    assert found.max_abs_error == pytest.approx(np.abs(reference.astype(np.float64) - actual).max())
    assert found.snr_db == pytest.approx(-20 * np.log10(noise), abs=2.0)


def test_an_unrelated_tensor_of_the_same_sign_is_not_alike() -> None:
    random = np.random.default_rng(0)
    sigmoids = 0.5 + 0.01 * random.normal(size=(2, SAMPLES, *SHAPE)).astype(np.float32)
    found = compare(sigmoids[0], sigmoids[1])
    assert found is not None
    assert found.snr_db < 3.0
    assert found.cosine > 0.99  # which is why it is not judged by


def test_masks_are_alike_however_they_write_infinity() -> None:
    reference = np.random.default_rng(0).normal(size=(SAMPLES, 4, 5)).astype(np.float32)
    actual = reference.copy()
    reference[:, 0], actual[:, 0] = -np.inf, np.finfo(np.float32).min
    found = compare(reference, actual)
    assert found is not None
    assert found.max_abs_error == 0.0
    actual[:, 1] = np.nan
    found = compare(reference, actual)
    assert found is not None
    assert (found.snr_db, found.max_abs_error) == (-np.inf, np.inf)


def test_what_is_always_the_same_number_tells_nothing() -> None:
    assert not is_telling(np.full((2, 8), 3.0, np.float32))
    assert not is_telling(np.arange(8))
    assert is_telling(np.arange(8, dtype=np.float32))


def test_constants_and_changes_of_format_are_no_layers() -> None:
    operations = [
        Operation("dequantize weights", "DequantizeLinear", ("w_int8", "scale"), ("w",)),
        Operation("conv", "Conv", ("x", "w", "b"), ("y",)),
        Operation("quantize", "QuantizeLinear", ("y", "scale"), ("y_int8",)),
        Operation("dequantize", "DequantizeLinear", ("y_int8", "scale"), ("y_float",)),
        Operation("relu", "Relu", ("y_float",), ("z",)),
    ]
    constants = {"w_int8": 100, "scale": 4, "b": 16}
    carriers = frozenset({"QuantizeLinear", "DequantizeLinear"})
    graph = graph_of(operations, constants, {"x": "x"}, {"z": "z"}, carriers)
    assert [(each.name, each.inputs, each.weights_bytes) for each in graph.operations] == [
        ("conv", ("x",), 120),
        ("relu", ("y",), 0),
    ]
    assert graph.readings == {"y": "y_float"}  # the value of y is what is left of it after quantizing


def test_quantizing_the_input_is_a_layer_since_no_other_is_before_it() -> None:
    operations = [Operation("quantize", "QUANTIZE", ("x",), ("q",)), Operation("fc", "FULLY_CONNECTED", ("q",), ("y",))]
    graph: Graph = graph_of(operations, {}, {"x": "x"}, {"y": "y"}, frozenset({"QUANTIZE"}))
    assert [each.name for each in graph.operations] == ["quantize", "fc"]


def test_samples_are_as_many_as_memory_has_room_for() -> None:
    layer = Layer("a", "Relu", 0, (), ("y",), {"y": np.zeros((1, 256), np.float32)})
    assert samples_within(4096, [layer]) == 4
    assert samples_within(10, [layer]) == 1


class Block(Struct, frozen=True):
    """One residual block: y = relu(norm(x @ w)), and x + y where `skips`."""

    w: np.ndarray
    gain: np.ndarray
    bias: np.ndarray
    skips: bool


def _network(seed: int, skips: list[bool]) -> list[Block]:
    random = np.random.default_rng(seed)
    channels = SHAPE[-1]
    return [
        Block(
            w=random.normal(size=(channels, channels)).astype(np.float32) / np.sqrt(channels),
            gain=random.uniform(0.5, 1.5, channels).astype(np.float32),
            bias=random.normal(size=channels).astype(np.float32) / 2,
            skips=skip,
        )
        for skip in skips
    ]


def _unnamed(name: str) -> str:
    """A name that says nothing."""
    return name if name == "x" else f"t{zlib.crc32(name.encode())}"


class _Writer:
    """Collects layers as a tracer would: each sample's tensor with a batch axis of one."""

    def __init__(self, name: Callable[[str], str] = lambda name: name) -> None:
        self.layers: list[Layer] = []
        self._name = name

    def add(self, name: str, operator: str, inputs: tuple[str, ...], array: np.ndarray, weights: int = 0) -> np.ndarray:
        tensor = self._name(name)
        taken = tuple(map(self._name, inputs))
        self.layers.append(Layer(tensor, operator, weights, taken, (tensor,), {tensor: array[:, np.newaxis].copy()}))
        return array

    def end(self, tensor: str) -> list[Layer]:
        return [*self.layers, Layer("answer", OUTPUT, 0, (self._name(tensor),), (), {})]

    def begin(self, array: np.ndarray) -> None:
        self.layers.append(Layer("x", INPUT, 0, (), (self._name("x"),), {self._name("x"): array[:, np.newaxis]}))


def _source(x: np.ndarray, blocks: list[Block]) -> list[Layer]:
    """Every step a layer of its own."""
    writer = _Writer()
    writer.begin(x)
    last = "x"
    for index, block in enumerate(blocks):
        product = writer.add(f"b{index}/matmul", "MatMul", (last,), x @ block.w, block.w.nbytes)
        norm = writer.add(f"b{index}/norm", "Norm", (f"b{index}/matmul",), product * block.gain + block.bias, 48)
        y = writer.add(f"b{index}/relu", "Relu", (f"b{index}/norm",), np.maximum(norm, 0))
        if block.skips:
            y = writer.add(f"b{index}/add", "Add", (f"b{index}/relu", last), y + x)
        x, last = y, f"b{index}/add" if block.skips else f"b{index}/relu"
    return writer.end(last)


def _variant(x: np.ndarray, blocks: list[Block], *, named: bool, faults: dict[str, float]) -> list[Layer]:
    """Norm folded into the product, channels first, with transposes and a helper that the source has not."""
    writer = _Writer() if named else _Writer(_unnamed)
    writer.begin(x)
    x = writer.add("to channels first", "Transpose", ("x",), x.transpose(0, 3, 1, 2))
    last = "to channels first"
    for index, block in enumerate(blocks):
        folded = block.w * block.gain * (1 + faults.get(f"b{index}/fused", 0.0))
        scaled = np.einsum("nchw,cd->ndhw", x, folded)
        writer.add(f"b{index}/unbiased", "Conv", (last,), scaled, block.w.nbytes)
        fused = f"b{index}/matmul;b{index}/norm;b{index}/relu"
        y = np.maximum(scaled + block.bias[:, np.newaxis, np.newaxis], -faults.get(f"b{index}/relu", 0.0))
        writer.add(fused, "AddRelu", (f"b{index}/unbiased",), y, 24)
        last, before = fused, last
        if block.skips:
            y = writer.add(f"b{index}/add", "Add", (fused, before), y + x * (1 - faults.get(f"b{index}/add", 0.0)))
            last = f"b{index}/add"
        x = y
    writer.add("flat", "Reshape", (last,), x.transpose(0, 2, 3, 1))
    return writer.end("flat")


def _differ(source: list[Layer], variant: list[Layer]) -> bool:
    """Whether the answers do, by more than rounding."""
    answers = [next(layer for layer in layers if layer.outputs == layers[-1].inputs) for layers in (source, variant)]
    left, right = (array for layer in answers for array in layer.arrays.values())
    return bool(np.abs(left - right).max() > 0.01 * np.abs(left).max())


_SKIPS = st.lists(st.booleans(), min_size=2, max_size=6)


@given(_SKIPS, st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=30)
def test_a_variant_that_is_right_departs_nowhere(skips: list[bool], seed: int, named: bool) -> None:
    x = np.random.default_rng(seed).normal(size=(SAMPLES, *SHAPE)).astype(np.float32)
    blocks = _network(seed, skips)
    source, variant = _source(x, blocks), _variant(x, blocks, named=named, faults={})
    assert locate(source, variant) is None
    worst = largest_error(source, variant)
    assert worst is not None
    assert (worst.snr_db or 0.0) > SAME_DB


@given(_SKIPS, st.integers(0, 2**32 - 1), st.booleans(), st.data())
@settings(max_examples=80)
def test_the_faulty_layer_is_named_and_none_that_passes_it_on(
    skips: list[bool], seed: int, named: bool, data: st.DataObject
) -> None:
    x = np.random.default_rng(seed).normal(size=(SAMPLES, *SHAPE)).astype(np.float32)
    blocks = _network(seed, skips)
    index = data.draw(st.integers(0, len(blocks) - 1), label="block")
    kinds = ["fused", "relu", "add"] if skips[index] else ["fused", "relu"]
    kind = data.draw(st.sampled_from(kinds), label="fault")
    source = _source(x, blocks)
    variant = _variant(x, blocks, named=named, faults={f"b{index}/{kind}": 0.5})
    assume(_differ(source, variant))  # a ReLU may hide the fault
    found = locate(source, variant)
    assert found is not None
    fused = f"b{index}/matmul;b{index}/norm;b{index}/relu"
    # The product without its bias has no counterpart: it stands with the layer that it leads to.
    expected = {"fused": {f"b{index}/unbiased"}, "relu": {f"b{index}/unbiased", fused}, "add": {f"b{index}/add"}}[kind]
    assert found.layer in (expected if named else set(map(_unnamed, expected)))
    assert (found.nearest_source_layer or "").startswith(f"b{index}/")
    assert found.max_abs_error is not None
    assert found.max_abs_error > 0.0
    assert not next(step for step in found.around if step.layer == found.layer).agrees


def test_a_tensors_shape_says_nothing_of_its_values() -> None:
    """Shape gives the right integers for wrong floats, and a reshape by it is right as well."""
    random = np.random.default_rng(0)
    x, wrong = random.normal(size=(2, SAMPLES, 1, 12)).astype(np.float32)
    shape = np.tile(np.array([1, 12]), (SAMPLES, 1))
    y = x * 2 + 1

    def layers(values: np.ndarray, end: np.ndarray) -> list[Layer]:
        return [
            Layer("x", INPUT, 0, (), ("x",), {"x": x}),
            Layer("conv", "Conv", 8, ("x",), ("c",), {"c": values}),
            Layer("shape", "Shape", 0, ("c",), ("s",), {"s": shape}),
            Layer("reshape", "Reshape", 0, ("x", "s"), ("r",), {"r": x}),
            Layer("add", "Add", 0, ("c", "r"), ("a",), {"a": end}),
            Layer("answer", OUTPUT, 0, ("a",), (), {}),
        ]

    found = locate(layers(y, y + x), layers(wrong, wrong + x))
    assert found is not None
    assert found.layer == "conv"


def test_a_name_that_leads_to_other_values_is_not_believed_where_another_tensor_has_them() -> None:
    """PyTorch's exporter numbers nodes anew: `add_1` is another sum in the ONNX file."""
    random = np.random.default_rng(0)
    x, first, second = random.normal(size=(3, SAMPLES, 1, 12)).astype(np.float32)
    source = [
        Layer("x", INPUT, 0, (), ("x",), {"x": x}),
        Layer("p", "add", 4, ("x",), ("add_1",), {"add_1": first}),
        Layer("q", "add", 4, ("add_1",), ("add_2",), {"add_2": second}),
        Layer("answer", OUTPUT, 0, ("add_2",), (), {}),
    ]
    variant = [
        Layer("x", INPUT, 0, (), ("x",), {"x": x}),
        Layer("p", "Add", 4, ("x",), ("add_2",), {"add_2": first}),
        Layer("q", "Add", 4, ("add_2",), ("add_1",), {"add_1": second}),
        Layer("answer", OUTPUT, 0, ("add_1",), (), {}),
    ]
    assert match(source, variant).found["add_2"].tensor == "add_1"
    assert locate(source, variant) is None


def test_a_relu_that_does_nothing_is_named_though_its_values_are_the_sources() -> None:
    random = np.random.default_rng(0)
    x, before = random.normal(size=(2, SAMPLES, 1, 12)).astype(np.float32)
    after = np.maximum(before, 0)

    def layers(relu: np.ndarray) -> list[Layer]:
        return [
            Layer("x", INPUT, 0, (), ("x",), {"x": x}),
            Layer("conv", "Conv", 8, ("x",), ("c",), {"c": before}),
            Layer("relu", "Relu", 0, ("c",), ("r",), {"r": relu}),
            Layer("dense", "Gemm", 8, ("r",), ("d",), {"d": relu * 3 + 1}),
            Layer("answer", OUTPUT, 0, ("d",), (), {}),
        ]

    found = locate(layers(after), layers(before))
    assert found is not None
    assert (found.layer, found.nearest_source_layer) == ("relu", "relu")


def test_a_lost_activation_is_seen_without_names() -> None:
    random = np.random.default_rng(0)
    x, before = random.normal(size=(2, SAMPLES, 1, 12)).astype(np.float32)
    after = np.maximum(before, 0)
    weights = random.normal(size=(12, 7)).astype(np.float32)
    source = [
        Layer("x", INPUT, 0, (), ("x",), {"x": x}),
        Layer("stem", "conv2d", 8, ("x",), ("c",), {"c": before}),
        Layer("activation", "relu", 0, ("c",), ("r",), {"r": after}),
        Layer("head", "linear", 8, ("r",), ("d",), {"d": after @ weights}),
        Layer("answer", OUTPUT, 0, ("d",), (), {}),
    ]
    variant = [
        Layer("x", INPUT, 0, (), ("x",), {"x": x}),
        Layer("fused", "CONV_2D", 8, ("x",), ("t1",), {"t1": before}),
        Layer("dense", "FULLY_CONNECTED", 8, ("t1",), ("t2",), {"t2": before @ weights}),
        Layer("answer", OUTPUT, 0, ("t2",), (), {}),
    ]
    found = locate(source, variant)
    assert found is not None
    assert (found.layer, found.nearest_source_layer) == ("fused", "activation")
    assert "before activation, not after" in found.reason


@given(st.integers(0, 4), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_of_quantized_layers_the_one_that_loses_most_is_named(culprit: int, seed: int) -> None:
    """Every int8 layer errs a little, the first as well, which goes from exact to 40 dB; one errs a lot."""
    random = np.random.default_rng(seed)
    exact = random.normal(size=(6, SAMPLES, 1, 200)).astype(np.float32)
    error_db = np.array([-np.inf, *-40.0 + np.arange(5)])  # of each tensor: natural loss of a decibel a layer
    error_db[culprit + 1 :] = np.maximum(error_db[culprit + 1 :], -8.0 + np.arange(5 - culprit))
    noise = random.normal(size=exact.shape) * (10 ** (error_db / 20))[:, np.newaxis, np.newaxis, np.newaxis]

    def layers(arrays: np.ndarray) -> list[Layer]:
        steps = [
            Layer(f"l{index}", "Conv", 8, (f"t{index}",), (f"t{index + 1}",), {f"t{index + 1}": arrays[index + 1]})
            for index in range(5)
        ]
        return [
            Layer("x", INPUT, 0, (), ("t0",), {"t0": arrays[0]}),
            *steps,
            Layer("answer", OUTPUT, 0, ("t5",), (), {}),
        ]

    variant = layers((exact + noise).astype(np.float32))
    found = locate(layers(exact), variant, outputs=["answer"], precision="int8")
    assert found is not None
    assert found.layer == f"l{culprit}"
