"""What quantizers decide without their libraries: what is tried in which order, and what may be called quantized."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgeward_converters.quantizers import batched
from edgeward_converters.quantizers.channels import in_8_bits, is_worth_it
from edgeward_converters.quantizers.contents import Constant, check
from edgeward_converters.quantizers.ladder import DYNAMIC, FLOAT, PRECISIONS, Rung, called, ladder
from edgeward_runtimes.errors import ConversionError

ENGINES = ("litert", "onnxruntime", "openvino")
QUANTIZED = ("int8", "int8_dynamic", "int16x8", "int4")


def _rungs(engine: str, precision: str, calibrated: bool = True) -> tuple[Rung, ...]:
    return ladder(engine, precision, calibrated=calibrated)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("calibrated", [True, False])
def test_what_was_asked_for_is_tried_first_and_floats_are_never_the_end_of_what_is_quantized(
    engine: str, calibrated: bool
) -> None:
    for precision in PRECISIONS:
        rungs = _rungs(engine, precision, calibrated)
        assert called(rungs[0], precision) == precision
        assert len(set(rungs)) == len(rungs), "nothing is tried twice"
        assert (FLOAT in rungs) == (precision in ("fp32", "fp16"))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("calibrated", [True, False])
def test_whatever_is_quantized_falls_to_the_very_artifact_that_int8_is(engine: str, calibrated: bool) -> None:
    int8 = _rungs(engine, "int8", calibrated)
    for failing in range(len(int8)):
        working = [rung for rung in int8 if rung not in int8[:failing]]
        for precision in QUANTIZED:
            first, *others = _rungs(engine, precision, calibrated)
            if first in int8:
                continue
            assert [rung for rung in others if rung in working] == working


def test_without_calibration_data_int8_is_dynamic_to_begin_with() -> None:
    for engine in ENGINES:
        assert _rungs(engine, "int8")[0] == Rung("int8", "static")
        assert _rungs(engine, "int8", calibrated=False) == (DYNAMIC, Rung("int8", "weights"))


def test_only_who_asked_for_int8_dynamic_gets_a_variant_of_that_name() -> None:
    assert called(DYNAMIC, "int8_dynamic") == "int8_dynamic"
    assert called(DYNAMIC, "int8") == "int8"
    assert called(Rung("int8", "static"), "int8_dynamic") == "int8"


def test_what_came_quantized_stays_as_it_is() -> None:
    for precision in PRECISIONS:
        assert ladder("litert", precision, calibrated=True, given="int4") == (Rung("int4", "given"),)


def test_a_precision_is_what_most_of_the_weights_have() -> None:
    matrix, bias = (64, 10), (1, 640)
    check("int8", [Constant("int8", matrix), Constant("float32", bias), Constant("float32", bias)])
    check("int8", [Constant("uint8", matrix), Constant("int8", matrix), Constant("float32", matrix)])
    check("int4", [Constant("uint4", matrix), Constant("int8", matrix), Constant("int32", matrix)])
    check("fp16", [Constant("float16", (10,))])  # a model of vectors alone
    with pytest.raises(ConversionError, match=r"^only 33% of its weights can be in int4 here$"):
        check("int4", [Constant("int4", matrix), Constant("int8", matrix), Constant("float32", matrix)])
    for nothing in ([], [Constant("float32", matrix), Constant("int64", matrix), Constant("int8", bias)]):
        with pytest.raises(ConversionError, match=r"^nothing was quantized: none of its weights can be in int8 here$"):
            check("int8", nothing)


FLOATS = st.floats(-1e4, 1e4, width=32)
WEIGHTS = arrays.arrays(np.float32, arrays.array_shapes(min_dims=1, max_dims=4, max_side=6), elements=FLOATS)


@given(WEIGHTS.filter(lambda values: max(values.shape) > 1))
def test_weights_in_8_bits_are_off_by_half_a_step_of_their_channel_at_most(values: np.ndarray) -> None:
    stored, scales, axis = in_8_bits(values)
    assert (stored.dtype, stored.shape) == (np.int8, values.shape)
    assert stored.min() >= -127
    assert scales.shape == (values.shape[axis],)
    step = scales.astype(np.float64).reshape([-1 if each == axis else 1 for each in range(values.ndim)])
    assert (np.abs(stored * step - values) <= step * 0.5001 + 1e-30).all()


def test_the_channels_are_along_the_axis_that_costs_least() -> None:
    values = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)
    assert in_8_bits(values * np.logspace(-3, 3, 16, dtype=np.float32))[2] == 1
    assert in_8_bits(values * np.logspace(-3, 3, 8, dtype=np.float32)[:, None])[2] == 0


def test_vectors_and_small_matrices_stay_as_they_are() -> None:
    assert is_worth_it("float32", (8, 8))
    for dtype, shape in (("float32", (1, 640)), ("float32", (7, 9)), ("int64", (80, 80)), ("float32", ())):
        assert not is_worth_it(dtype, shape)


@given(st.integers(1, 20), st.integers(1, 8))
def test_calibration_comes_in_the_batches_that_the_model_takes(samples: int, size: int) -> None:
    given_arrays = {"x": np.arange(samples), "y": np.arange(samples) * 10}
    batches = batched(given_arrays, size)
    assert batches
    assert {len(batch["x"]) for batch in batches} == {size}
    for batch in batches:
        assert (batch["y"] == batch["x"] * 10).all(), "samples stay together"
    if samples >= size:
        assert np.concatenate([batch["x"] for batch in batches]).tolist() == list(range(samples // size * size))
