"""Golden samples: is this variant, on this machine, still the source model?

A pure comparison of outputs with the source model's, and its verdict against a variant's tolerance. The converter,
the device's self-test and `edgeward verify` all judge by it.

Each output is compared and judged by itself: next to boxes of a thousand pixels a wrong probability would pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from edgeward_runtimes.errors import EdgewardError
from edgeward_runtimes.manifest import Tolerance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeward_runtimes.model import Model
    from edgeward_runtimes.samples import GoldenSamples

Arrays = Mapping[str, "NDArray[Any]"]


class Comparison(Struct, frozen=True):
    """How far an output lies from the expected one.

    Attributes:
        max_abs_error: Largest absolute difference of any element, in the output's unit.
        cosine: Smallest cosine similarity of any sample (1.0: same direction).
        top1_agreement: Share of samples whose largest element is the same (0 to 1).
    """

    max_abs_error: float
    cosine: float
    top1_agreement: float


_ALIKE = Comparison(max_abs_error=0.0, cosine=1.0, top1_agreement=1.0)
_UNLIKE = Comparison(max_abs_error=float("inf"), cosine=-1.0, top1_agreement=0.0)


class Check(Struct, frozen=True):
    """The verdict on one variant, with the worst numbers of its outputs.

    `reason` says why it did not pass; numbers are null when it did not run.
    """

    id: str
    max_abs_error: float | None
    cosine: float | None
    top1_agreement: float | None
    passed: bool
    reason: str | None = None


def compare(expected: Arrays, actual: Arrays) -> dict[str, Comparison]:
    """Compare outputs by name; every array has the batch axis first and at least one sample.

    A missing output, another shape, or a NaN or infinity that the source did not give is an infinite error.
    """
    return {name: _compared(reference, actual.get(name)) for name, reference in expected.items()}


def worst(found: Mapping[str, Comparison]) -> Comparison:
    """The largest error, the smallest similarity and the smallest agreement of all outputs."""
    every = [_ALIKE, *found.values()]
    return Comparison(
        max_abs_error=max(each.max_abs_error for each in every),
        cosine=min(each.cosine for each in every),
        top1_agreement=min(each.top1_agreement for each in every),
    )


def within(comparison: Comparison, tolerance: Tolerance) -> bool:
    """Whether a comparison stays inside a tolerance."""
    return comparison.max_abs_error <= tolerance.max_abs_error and comparison.cosine >= tolerance.cosine


def check(variant_id: str, model: Model, golden: GoldenSamples, tolerance: Mapping[str, Tolerance]) -> Check:
    """Run the golden samples through an opened variant and judge every output by its own tolerance."""
    try:
        actual = model.predict(golden.inputs)
    except EdgewardError as error:
        return failed(variant_id, str(error))
    by_name = actual if isinstance(actual, dict) else {model.outputs[0].name: actual}
    found = compare(golden.outputs, by_name)
    reasons = (_beyond(name, found[name], allowed) for name, allowed in tolerance.items())
    reason = next(filter(None, reasons), None)
    all_in_all = worst(found)
    return Check(
        variant_id,
        all_in_all.max_abs_error,
        all_in_all.cosine,
        all_in_all.top1_agreement,
        passed=reason is None,
        reason=reason,
    )


def failed(variant_id: str, reason: str) -> Check:
    """The verdict on a variant that could not even be run."""
    return Check(variant_id, None, None, None, passed=False, reason=reason)


def cosine(expected: NDArray[Any], actual: NDArray[Any]) -> NDArray[np.float64]:
    """Cosine similarity per sample of two arrays of one shape.

    Two zero samples are alike. A NaN or infinity counts as nothing where both have the same one; a sample with any
    other is unlike.
    """
    left, right = _rows(expected), _rows(actual)
    agreed = ~np.isfinite(left) & _same(left, right)
    left, right = np.where(agreed, 0.0, left), np.where(agreed, 0.0, right)
    with np.errstate(divide="ignore", invalid="ignore"):
        norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
        similarity = np.einsum("ij,ij->i", left, right) / norms
    alike = (left == right).all(axis=1)
    return np.where(alike, 1.0, np.nan_to_num(similarity, nan=-1.0, posinf=-1.0, neginf=-1.0))


def _compared(expected: NDArray[Any], actual: NDArray[Any] | None) -> Comparison:
    if actual is None or actual.shape != expected.shape:
        return _UNLIKE
    left, right = _rows(expected), _rows(actual)
    with np.errstate(invalid="ignore"):
        difference = np.abs(left - right)
    difference[_same(left, right)] = 0.0
    return Comparison(
        max_abs_error=float(np.nan_to_num(difference, nan=np.inf).max(initial=0.0)),
        cosine=float(cosine(expected, actual).min(initial=1.0)),
        top1_agreement=float((left.argmax(1) == right.argmax(1)).mean()) if left.shape[1] > 1 else 1.0,
    )


def _beyond(name: str, found: Comparison, allowed: Tolerance) -> str | None:
    if within(found, allowed):
        return None
    return (
        f"differs from the source model in output {name!r}: max_abs_error {found.max_abs_error:.4g} "
        f"(allowed {allowed.max_abs_error:.4g}), cosine {found.cosine:.6f} (at least {allowed.cosine:.6f})"
    )


def _rows(array: NDArray[Any]) -> NDArray[np.float64]:
    return array.reshape(len(array), -1).astype(np.float64)


def _same(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = (left == right) | (np.isnan(left) & np.isnan(right))
    return same
