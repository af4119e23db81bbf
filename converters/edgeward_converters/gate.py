"""What is kept: the judgement on one variant, and the tolerance that it takes along. Pure.

On the host, against the source model's outputs on the golden samples:

- A float32 variant must give them within 1e-4 of their scale: it is the same computation, so anything more is a fault
  of the conversion. Each output has a scale of its own, its largest absolute value.
- No variant may give NaN or infinity where the source does not, nor an output whose error is as large as the output
  itself, which zeros would do as well: the metric sees the first output alone, and this sees every one.
- Every variant's metric may fall below the source's by `max_drop` and no further.

On the device, other kernels round differently, and the self-test has to find a broken engine and not another rounding.
An output may lie there as far from the source's as

    2 * what the variant showed on the host  +  floor

The first, because what quantizing does to a sample other roundings may do to its neighbour. The floor is what an exact
variant may differ by. Arithmetic in float32 is allowed 1e-3 of the scale, ten times what the host is. Arithmetic on n
bits moves in steps of the output's range (from its lowest value to its highest, zero included) over 2**n, and gets five
of them, or the floats' floor where that is more: 2 % of the range on 8 bits, which engines may also quantize the
activations to where only weights are stored so; 1 % in half floats, whose sums keep about 9 of their 11 bits.

The cosine follows from the same two: an error of `floor` in every element turns a sample by at most
asin(floor / its root mean square), so an angle may be twice that of the host, plus this for the smallest sample.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeward_converters.data import Arrays
from edgeward_runtimes.golden import Comparison
from edgeward_runtimes.manifest import Tolerance

_FLOAT_ERROR = 1e-4
_FLOAT_ERROR_ON_DEVICE = 1e-3
_STEPS = 5
# Of the arithmetic, not of the weights.
_BITS = {"fp16": 9, "int8": 8, "int8_dynamic": 8, "int16x8": 16, "int4": 8, "mixed": 8}


def judge(
    precision: str, found: Mapping[str, Comparison], expected: Arrays, drop: float, max_drop: float, metric: str
) -> str | None:
    """Why a measured variant is left out, or None; `drop` is how much worse its metric is than the source's."""
    for name, comparison in found.items():
        if not np.isfinite(comparison.max_abs_error):
            return f"its output {name!r} is not finite where the source's is, or has another shape"
        scale = output_scale(expected[name])
        if precision == "fp32" and comparison.max_abs_error > _FLOAT_ERROR * scale:
            return (
                f"differs from the source model in output {name!r}: max_abs_error {comparison.max_abs_error:.3g} "
                f"on values up to {scale:.3g} (allowed {_FLOAT_ERROR * scale:.3g})"
            )
    if not drop <= max_drop:
        return f"its {metric} drops by {figure(drop)} (allowed {figure(max_drop)})"
    return None


def figure(drop: float) -> str:
    """A drop as people read it: four digits behind the point, or two that count where those would be zeros."""
    return f"{drop:.2g}" if 0 < abs(drop) < 1e-3 else f"{drop:.4f}"


def lost(expected: Arrays, actual: Arrays) -> str | None:
    """Why outputs of the right shapes are no answer at all, or None."""
    for name, reference in expected.items():
        is_finite = np.isfinite(reference)
        values = reference[is_finite].astype(np.float64)
        error = np.linalg.norm(actual[name][is_finite] - values)
        if error >= np.linalg.norm(values) > 0:
            return f"its output {name!r} is lost: the error is as large as the output itself"
    return None


def tolerance(precision: str, found: Mapping[str, Comparison], expected: Arrays) -> dict[str, Tolerance]:
    """How far each of the variant's outputs may lie from the source's on a device."""
    return {name: _tolerance(precision, shown, expected[name]) for name, shown in found.items()}


def output_scale(expected: NDArray[Any]) -> float:
    """The largest absolute finite value of one of the source model's outputs; 1.0 when all are zero."""
    return float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0)) or 1.0


def _tolerance(precision: str, shown: Comparison, expected: NDArray[Any]) -> Tolerance:
    floor = _floor(precision, expected)
    angle = 2 * math.acos(min(1.0, max(-1.0, shown.cosine))) + _turn(expected, floor)
    return Tolerance(max_abs_error=2 * shown.max_abs_error + floor, cosine=math.cos(min(angle, math.pi)))


def _floor(precision: str, expected: NDArray[Any]) -> float:
    """What an exact variant may differ by, in the output's unit."""
    in_floats = _FLOAT_ERROR_ON_DEVICE * output_scale(expected)
    if precision == "fp32":
        return in_floats
    values = expected[np.isfinite(expected)].astype(np.float64)
    extent = float(values.max(initial=0.0) - values.min(initial=0.0))
    return max(in_floats, _STEPS * extent / float(2 ** _BITS[precision]))


def _turn(expected: NDArray[Any], floor: float) -> float:
    """The largest angle by which an error of `floor` in every element turns a sample, in radians; pi where any."""
    rows = np.where(np.isfinite(expected), expected, 0.0).reshape(len(expected), -1).astype(np.float64)
    smallest = math.sqrt(float(np.square(rows).mean(axis=1).min(initial=math.inf)))
    return math.asin(floor / smallest) if floor < smallest else math.pi
