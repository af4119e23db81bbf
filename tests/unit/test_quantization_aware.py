"""Promises of quantization-aware fine-tuning: rounding afterwards changes nothing, and costs less than without."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgeward_converters.compress.quantization_aware import grid
from edgeward_converters.compress.quantization_aware.step import QuantizationAware
from edgeward_converters.compress.step import Context, Trainable
from edgeward_converters.worker import Worker
from edgeward_runtimes.errors import ConfigError
from tests.unit import quantization_aware_jobs as jobs

FRAMEWORKS = ("keras", "torch")
_WEIGHTS = arrays.arrays(np.float32, (3, 2, 5), elements=st.floats(-100, 100, width=32, allow_subnormal=False))


@given(_WEIGHTS, st.sampled_from([4, 8]), st.sampled_from([(0,), (2,), (1, 2)]))
def test_weights_on_the_grid_are_found_again_between_minimum_and_maximum(
    weights: np.ndarray, bits: int, axes: tuple[int, ...]
) -> None:
    there = grid.to_the_end(weights, grid.scales(weights, axes, bits), axes, bits)
    ends = np.abs(there).max(axis=grid.within(there, axes), keepdims=True)
    again = grid.on_grid(there, np.where(ends > 0, ends, 1) / grid.largest_integer(bits), bits)
    np.testing.assert_allclose(again, there, rtol=1e-5, atol=1e-30)


@given(_WEIGHTS, st.sampled_from([4, 8]))
def test_the_scale_chosen_is_no_worse_than_that_of_the_largest_weight(weights: np.ndarray, bits: int) -> None:
    largest = np.abs(weights).max(axis=(0, 1), keepdims=True)
    plain = np.where(largest > 0, largest, 1).astype(np.float32) / grid.largest_integer(bits)
    errors = [
        np.square(grid.on_grid(weights, scale, bits).astype(float) - weights).sum(axis=(0, 1))
        for scale in (grid.scales(weights, (2,), bits), plain)
    ]
    assert (errors[0] <= errors[1] * (1 + 1e-5) + 1e-6).all()


def test_a_channel_that_has_shrunk_gets_a_scale_that_it_reaches_the_end_of() -> None:
    weights = np.array([[0.5, 3.0], [0.1, -7.0]], np.float32)
    scale = np.array([[1.0, 1.0]], np.float32)  # the first column is all but nothing on this grid
    values = grid.to_the_end(weights, scale, (1,), 4)
    assert values[:, 1].tolist() == [3.0, -7.0]
    assert abs(values[:, 0] - [0.5, 0.1]).max() < 0.05


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_four_bits_cost_less_after_the_step_and_rounding_changes_nothing(framework: str, worker: Worker) -> None:
    result = worker.run(jobs.trained, framework, 4)
    assert result.rounded < result.source - 0.03  # so there is something to gain
    assert result.aware_rounded > result.rounded + 0.01
    assert result.moved < 1e-5
    assert result.is_repeatable
    assert result.config_is_same


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_layers_may_have_bits_of_their_own(framework: str, worker: Worker) -> None:
    names = ["conv", "depthwise", "last"] if framework == "keras" else ["0", "3", "6"]
    assert worker.run(jobs.levels, framework) == dict(zip(names, (4, 8, 4), strict=True))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_recurrent_layers_and_embeddings_come_to_the_grid_too(framework: str, worker: Worker) -> None:
    layers, levels = worker.run(jobs.recurrent, framework)
    assert layers == ["table", "lstm", "lstm", "last"]
    assert levels <= 15


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_source_may_teach_meanwhile(framework: str, worker: Worker) -> None:
    assert worker.run(jobs.distilled, framework) > 0.9


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_activations_are_rounded_to_the_steps_of_their_range(framework: str, worker: Worker) -> None:
    assert worker.run(jobs.rounded_activations, framework) == [-1.0, 0.0, 0.0, 254.0]  # the range is 255, a step is 1


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_an_unknown_layer_is_refused_with_those_there_are(framework: str, worker: Worker) -> None:
    there = "first, last" if framework == "keras" else "0, 2"
    with pytest.raises(ConfigError, match=f"no layer 'nowhere' with weights; there are {there}"):
        worker.run(jobs.unknown_layer, framework)


@pytest.mark.parametrize("wrong", [{"weight_bits": 3}, {"activation_bits": 4}, {"distillation": 2.0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError, match=next(iter(wrong))):
        msgspec.convert({"method": "quantization_aware", **wrong}, QuantizationAware)


def test_a_recipe_may_leave_activations_as_they_are() -> None:
    read = msgspec.convert({"method": "quantization_aware", "activation_bits": "none"}, QuantizationAware)
    assert read == QuantizationAware(activation_bits="none")


def test_the_step_without_data_says_what_to_pass() -> None:
    nothing = Context(teacher=Trainable("keras", None))
    with pytest.raises(ConfigError, match=r"quantization_aware needs labelled training data.*--training"):
        QuantizationAware().apply(nothing.teacher, nothing)
