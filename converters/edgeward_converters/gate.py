"""What is kept: the judgement on one variant, and the tolerance that it takes along. Pure.

- A float variant must give the source's outputs on the golden samples within 1e-4 of their scale: it is the same
  computation, so anything more is a fault of the conversion. Each output has a scale of its own.
- No variant may give NaN or infinity where the source does not.
- Every variant's metric may fall below the source's by `max_drop` and no further.
- On the device, other kernels round differently: a float variant is allowed ten times as much there, an int8 one
  twice what it showed on the host, so that the self-test finds a broken engine and not another rounding.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeward_converters.data import Arrays
from edgeward_runtimes.golden import Comparison
from edgeward_runtimes.manifest import Tolerance

_FLOAT_ERROR = 1e-4
_FLOAT_ERROR_ON_DEVICE = 1e-3
_INT8_FLOOR = 0.02


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
        return f"its {metric} drops by {drop:.4f} (allowed {max_drop:.4f})"
    return None


def tolerance(precision: str, found: Mapping[str, Comparison], expected: Arrays) -> dict[str, Tolerance]:
    """How far each of the variant's outputs may lie from the source's on a device."""
    return {name: _tolerance(precision, each, output_scale(expected[name])) for name, each in found.items()}


def output_scale(expected: NDArray[Any]) -> float:
    """The largest absolute finite value of one of the source model's outputs; 1.0 when all are zero."""
    return float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0)) or 1.0


def _tolerance(precision: str, comparison: Comparison, scale: float) -> Tolerance:
    if precision == "fp32":
        return Tolerance(max_abs_error=_FLOAT_ERROR_ON_DEVICE * scale, cosine=0.999)
    return Tolerance(
        max_abs_error=2 * comparison.max_abs_error + _INT8_FLOOR * scale,
        cosine=max(-1.0, 1 - 2 * (1 - comparison.cosine) - _INT8_FLOOR),
    )
