"""Golden samples: is this variant, on this machine, still the source model?

A pure comparison of outputs with the source model's, and its verdict against a variant's tolerance. The converter,
the device's self-test and `edgeward verify` all judge by it.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from edgeward_runtimes.errors import EdgewardError
from edgeward_runtimes.manifest import Tolerance

if TYPE_CHECKING:
    from edgeward_runtimes.bundle import GoldenSamples
    from edgeward_runtimes.model import Model

Arrays = Mapping[str, NDArray[Any]]


class Comparison(Struct, frozen=True):
    """How far outputs lie from the expected ones.

    Attributes:
        max_abs_error: Largest absolute difference of any element, in the outputs' unit.
        cosine: Smallest cosine similarity of any sample of any output (1.0: same direction).
        top1_agreement: Share of samples whose largest element is the same, over all outputs (0 to 1).
    """

    max_abs_error: float
    cosine: float
    top1_agreement: float


class Check(Struct, frozen=True):
    """The verdict on one variant. `reason` says why it did not pass; numbers are null when it did not run."""

    id: str
    max_abs_error: float | None
    cosine: float | None
    top1_agreement: float | None
    passed: bool
    reason: str | None = None


def compare(expected: Arrays, actual: Arrays) -> Comparison:
    """Compare outputs by name; every array has the batch axis first and at least one sample.

    A missing output, another shape, or a NaN or infinity that the source did not give is an infinite error.
    """
    errors, cosines, agreements = [0.0], [1.0], []
    for name, reference in expected.items():
        output = actual.get(name)
        if output is None or output.shape != reference.shape:
            return Comparison(max_abs_error=float("inf"), cosine=-1.0, top1_agreement=0.0)
        samples = len(reference)
        left = reference.reshape(samples, -1).astype(np.float64)
        right = output.reshape(samples, -1).astype(np.float64)
        with np.errstate(invalid="ignore"):
            difference = np.abs(left - right)
        difference[(left == right) | (np.isnan(left) & np.isnan(right))] = 0.0
        errors.append(float(np.nan_to_num(difference, nan=np.inf).max(initial=0.0)))
        cosines.append(float(_cosine(left, right).min(initial=1.0)))
        if left.shape[1] > 1:
            agreements.append(float((left.argmax(1) == right.argmax(1)).mean()))
    return Comparison(
        max_abs_error=max(errors),
        cosine=min(cosines),
        top1_agreement=float(np.mean(agreements)) if agreements else 1.0,
    )


def within(comparison: Comparison, tolerance: Tolerance) -> bool:
    """Whether a comparison stays inside a tolerance."""
    return comparison.max_abs_error <= tolerance.max_abs_error and comparison.cosine >= tolerance.cosine


def check(variant_id: str, model: "Model", golden: "GoldenSamples", tolerance: Tolerance) -> Check:
    """Run the golden samples through an opened variant and judge it."""
    try:
        actual = model.predict(golden.inputs)
    except EdgewardError as error:
        return failed(variant_id, str(error))
    by_name = actual if isinstance(actual, dict) else {model.outputs[0].name: actual}
    found = compare(golden.outputs, by_name)
    passed = within(found, tolerance)
    reason = (
        None
        if passed
        else (
            f"differs from the source model: max_abs_error {found.max_abs_error:.4g} "
            f"(allowed {tolerance.max_abs_error:.4g}), cosine {found.cosine:.6f} (at least {tolerance.cosine:.6f})"
        )
    )
    return Check(variant_id, found.max_abs_error, found.cosine, found.top1_agreement, passed, reason)


def failed(variant_id: str, reason: str) -> Check:
    """The verdict on a variant that could not even be run."""
    return Check(variant_id, None, None, None, passed=False, reason=reason)


def _cosine(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine similarity per row; two zero rows are alike, and a row that is not finite is unlike any other."""
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    both_zero = ~left.any(axis=1) & ~right.any(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = np.einsum("ij,ij->i", left, right) / norms
    same = np.isclose(left, right, rtol=0, atol=0, equal_nan=True).all(axis=1)
    return np.where(both_zero | same, 1.0, np.nan_to_num(cosine, nan=-1.0, posinf=-1.0, neginf=-1.0))
