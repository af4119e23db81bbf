"""The verdict on a variant: what counts as the same answer."""

import numpy as np
import pytest

from edgeward_runtimes.golden import compare, within
from edgeward_runtimes.manifest import Tolerance

REFERENCE = {"y": np.array([[0.1, 0.9], [0.8, 0.2]], np.float32)}


def test_the_same_outputs_are_exactly_equal() -> None:
    found = compare(REFERENCE, REFERENCE)
    assert (found.max_abs_error, found.cosine, found.top1_agreement) == (0.0, 1.0, 1.0)


def test_differences_are_measured() -> None:
    found = compare(REFERENCE, {"y": np.array([[0.6, 0.4], [0.8, 0.2]], np.float32)})
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
    assert not within(compare(REFERENCE, actual), anything)


def test_a_source_that_gives_nan_or_infinity_is_reproduced_by_the_same() -> None:
    special = {"y": np.array([[np.nan, np.inf], [0.0, 0.0]], np.float32)}
    found = compare(special, special)
    assert (found.max_abs_error, found.cosine) == (0.0, 1.0)


def test_zero_outputs_are_alike() -> None:
    zeros = {"y": np.zeros((2, 2), np.float32)}
    assert compare(zeros, zeros).cosine == 1.0
