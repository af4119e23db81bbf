"""What is kept: the judgement on one variant, and the tolerance that it takes along. Pure.

- A float variant must give the source's outputs on the golden samples within 1e-4 of their scale: it is the same
  computation, so anything more is a fault of the conversion.
- Every variant's metric may fall below the source's by `max_drop` and no further.
- On the device, other kernels round differently: a float variant is allowed ten times as much there, an int8 one
  twice what it showed on the host, so that the self-test finds a broken engine and not another rounding.
"""

import numpy as np

from edgeward_converters.data import Arrays
from edgeward_runtimes.golden import Comparison
from edgeward_runtimes.manifest import Tolerance

_FLOAT_ERROR = 1e-4
_FLOAT_ERROR_ON_DEVICE = 1e-3
_INT8_FLOOR = 0.02


def judge(
    precision: str, comparison: Comparison, expected: Arrays, drop: float, max_drop: float, metric: str
) -> str | None:
    """Why a measured variant is left out, or None; `drop` is how much worse its metric is than the source's."""
    scale = output_scale(expected)
    if precision == "fp32" and comparison.max_abs_error > _FLOAT_ERROR * scale:
        return (
            f"differs from the source model: max_abs_error {comparison.max_abs_error:.3g} on outputs up to {scale:.3g} "
            f"(allowed {_FLOAT_ERROR * scale:.3g})"
        )
    if not drop <= max_drop:
        return f"its {metric} drops by {drop:.4f} (allowed {max_drop:.4f})"
    return None


def tolerance(precision: str, comparison: Comparison, expected: Arrays) -> Tolerance:
    """How far the variant's outputs may lie from the source's on a device."""
    scale = output_scale(expected)
    if precision == "fp32":
        return Tolerance(max_abs_error=_FLOAT_ERROR_ON_DEVICE * scale, cosine=0.999)
    return Tolerance(
        max_abs_error=2 * comparison.max_abs_error + _INT8_FLOOR * scale,
        cosine=max(-1.0, 1 - 2 * (1 - comparison.cosine) - _INT8_FLOOR),
    )


def output_scale(expected: Arrays) -> float:
    """The largest absolute finite output of the source model; 1.0 when all are zero."""
    largest = max((float(np.abs(array[np.isfinite(array)]).max(initial=0.0)) for array in expected.values()), default=0)
    return largest or 1.0
