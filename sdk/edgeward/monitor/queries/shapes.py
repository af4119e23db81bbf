"""What REST answers with, as frozen dataclasses: FastAPI documents those. None is not measurable, or not known.

Times are Unix seconds; predictions are those that were answered, errors those that failed.
"""

from dataclasses import dataclass
from typing import Literal

Condition = Literal["ok", "warning", "bad", "offline"]
CONDITIONS: tuple[Condition, ...] = ("ok", "warning", "bad", "offline")  # from the best to the worst


@dataclass(frozen=True)
class ModelOnDevice:
    """One model on one device; totals are over all its releases there.

    `warning` says why it does not run on what was asked for. `drift_score` is the largest population stability index
    of its inputs and outputs against the bundle's reference.
    """

    name: str
    installed: bool
    release: str | None
    variant: str | None
    engine: str | None
    runs_on: str | None
    warning: str | None
    predictions: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    drift_score: float | None
    mean_confidence: float | None
    accuracy: float | None
    feedback_count: int | None


@dataclass(frozen=True)
class Device:
    """One device: facts, latest health, models. `reasons` say in words why its condition is not ok."""

    id: str
    fleet: str
    device: str
    online: bool
    condition: Condition
    reasons: list[str]
    last_seen: float
    target: str | None
    edgeward_version: str | None
    python_version: str | None
    architecture: str | None
    born_at: float | None
    clock_skew_s: float | None
    cpu_percent: float | None
    load_1m: float | None
    memory_used_percent: float | None
    disk_used_percent: float | None
    temperature_c: float | None
    uptime_s: float | None
    throttled: float | None
    throttling: str | None
    power_w: float | None
    energy_per_prediction_j: float | None
    gpu_percent: float | None
    gpu_temperature_c: float | None
    clock_offset_ms: float | None
    models: list[ModelOnDevice]


@dataclass(frozen=True)
class Overview:
    """The whole fleet at a glance. `map` has a digit for each device, in the order of ids: the place of its condition
    in ok, warning, bad, offline.
    """

    devices: int
    online: int
    conditions: dict[Condition, int]
    map: str
    predictions: int
    errors: int
    alerts_firing: int
    models: list[str]
    targets: list[str]


@dataclass(frozen=True)
class ReleaseTotals:
    """One release of a model, over the whole fleet."""

    release: str
    devices: int
    predictions: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True)
class GroupTotals:
    """A model on the devices of one target, or in one variant."""

    name: str
    devices: int
    predictions: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True)
class Observed:
    """What a device saw of a model's data."""

    device: str
    release: str | None
    drift_score: float | None
    mean_confidence: float | None
    accuracy: float | None
    feedback_count: int | None


@dataclass(frozen=True)
class FleetModel:
    """One model over the whole fleet. `drift` has the devices where it drifts most."""

    name: str
    devices: list[str]
    installed_on: int
    predictions: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    worst_drift: float | None
    releases: list[ReleaseTotals]
    by_target: list[GroupTotals]
    by_variant: list[GroupTotals]
    drift: list[Observed]


@dataclass(frozen=True)
class ModelSummary:
    """A line of the list of models."""

    name: str
    installed_on: int
    releases: int
    predictions: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    worst_drift: float | None


@dataclass(frozen=True)
class Bin:
    """How many predictions took longer than the bin before, and at most `upper_ms`."""

    upper_ms: float
    count: int


@dataclass(frozen=True)
class LogLine:
    """A line that a device's agent forwarded."""

    id: int
    device_id: str
    at: float
    level: str
    logger: str
    text: str
