"""The verdict on a variant: what counts as the same answer."""

from types import SimpleNamespace

import numpy as np
import pytest

from edgeward_runtimes.golden import check, compare, cosine, within, worst
from edgeward_runtimes.manifest import Tolerance
from edgeward_runtimes.samples import GoldenSamples

REFERENCE = {"y": np.array([[0.1, 0.9], [0.8, 0.2]], np.float32)}


def test_the_same_outputs_are_exactly_equal() -> None:
    found = compare(REFERENCE, REFERENCE)["y"]
    assert (found.max_abs_error, found.cosine, found.top1_agreement) == (0.0, 1.0, 1.0)


def test_differences_are_measured() -> None:
    found = compare(REFERENCE, {"y": np.array([[0.6, 0.4], [0.8, 0.2]], np.float32)})["y"]
    assert found.max_abs_error == pytest.approx(0.5)
    assert found.top1_agreement == 0.5
    assert found.cosine < 0.8


@pytest.mark.parametrize(
    "actual",
    [
        {},
        {"y": REFERENCE["y"][:1]},
        {"y": np.full((2, 2), np.nan, np.float32)},
        {"y": np.array([[np.inf, 0.9], [0.8, 0.2]], np.float32)},
    ],
)
def test_missing_misshapen_and_non_finite_outputs_never_pass(actual) -> None:
    anything = Tolerance(max_abs_error=1e30, cosine=-1.0)
    assert not within(compare(REFERENCE, actual)["y"], anything)


def test_a_source_that_gives_nan_or_infinity_is_reproduced_by_the_same() -> None:
    special = {"y": np.array([[np.nan, np.inf], [0.0, 0.0]], np.float32)}
    found = compare(special, special)["y"]
    assert (found.max_abs_error, found.cosine) == (0.0, 1.0)


def test_an_infinity_that_both_give_does_not_hide_the_rest() -> None:
    source = np.array([[-np.inf, 1.0, 2.0], [np.nan, 3.0, 0.0]])
    np.testing.assert_allclose(cosine(source, source + 1e-7), 1.0)
    np.testing.assert_allclose(cosine(source, -source), [-1.0, -1.0])
    assert cosine(source, np.zeros_like(source)).tolist() == [-1.0, -1.0]


def test_zero_outputs_are_alike() -> None:
    zeros = {"y": np.zeros((2, 2), np.float32)}
    assert compare(zeros, zeros)["y"].cosine == 1.0


def test_every_output_is_judged_at_its_own_scale() -> None:
    boxes, probability = np.full((2, 4), 1000.0, np.float32), np.full((2, 1), 0.5, np.float32)
    golden = GoldenSamples({"x": probability}, {"boxes": boxes, "probability": probability})
    tolerance = {
        "boxes": Tolerance(max_abs_error=1.0, cosine=0.999),
        "probability": Tolerance(max_abs_error=5e-4, cosine=0.999),
    }

    def judged(probability_error: float, box_error: float):
        answer = {"boxes": boxes + np.float32(box_error), "probability": probability + np.float32(probability_error)}
        return check("litert-fp32", SimpleNamespace(predict=lambda inputs: answer), golden, tolerance)

    assert judged(0.0001, 0.5).passed
    assert judged(0.0001, 0.5).max_abs_error == 0.5, "the worst of all outputs is shown"
    assert not judged(0.04, 0.0).passed
    assert "differs from the source model in output 'probability': max_abs_error 0.04" in (judged(0.04, 0).reason or "")


def test_the_worst_of_several_outputs_speaks_for_the_model() -> None:
    found = compare({**REFERENCE, "z": REFERENCE["y"]}, {**REFERENCE, "z": REFERENCE["y"][:, ::-1]})
    assert worst(found) == found["z"]
    assert worst({}).cosine == 1.0
