"""How fast a variant predicts, here and now."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeward_runtimes.model import Model

_WARM_UP = 5


class Timing(Struct, frozen=True):
    """Milliseconds of one `predict` at batch size 1: exact quantiles of the measured runs."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    runs: int


def measure(model: Model, inputs: Mapping[str, NDArray[Any]], *, runs: int = 200, budget_s: float = 1.0) -> Timing:
    """Time single predictions over the samples in turn.

    Args:
        model: An opened model.
        inputs: Arrays by input name; the first axis is the samples, one is predicted at a time.
        runs: How many at most.
        budget_s: Stop early after this many seconds, but never before 5 runs.
    """
    samples = min(len(array) for array in inputs.values())
    singles = [{name: array[i : i + 1] for name, array in inputs.items()} for i in range(min(samples, 16))]
    for i in range(_WARM_UP):
        model.predict(singles[i % len(singles)])
    elapsed_ms: list[float] = []
    deadline = time.perf_counter() + budget_s
    while len(elapsed_ms) < runs and (len(elapsed_ms) < 5 or time.perf_counter() < deadline):
        single = singles[len(elapsed_ms) % len(singles)]
        start = time.perf_counter_ns()
        model.predict(single)
        elapsed_ms.append((time.perf_counter_ns() - start) / 1e6)
    p50, p90, p99 = (float(value) for value in np.percentile(elapsed_ms, (50, 90, 99)))
    return Timing(p50, p90, p99, len(elapsed_ms))
