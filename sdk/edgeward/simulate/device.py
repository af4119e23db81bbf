"""One simulated device over time: what its agent would read, made up plausibly (pure; time is an argument).

Latencies are log-normal around the model's median on that board, two in a hundred of them three times as long. Health
wanders around what the board and its fault have. Totals are cumulative, and `predictions` says how many were made.
"""

import random
from typing import Any

import numpy as np
from msgspec import Struct

from edgeward.simulate.boards import Board, Fault, Model
from edgeward_runtimes.latency.counters import Counters
from edgeward_runtimes.latency.histogram import BUCKET_COUNT, BUCKETS_PER_OCTAVE, OFFSET, Histogram
from edgeward_runtimes.sparkplug import metrics
from edgeward_runtimes.sparkplug.codec import Value
from edgeward_runtimes.sparkplug.session import LogLine, ModelReading, Reading

_SPREAD = 0.22  # of the logarithm of latencies
_TAIL, _TAIL_PACE = 0.02, 3.0
_MOST_A_READING = 20_000
_ENOUGH = 200  # predictions, before a device says how its data look
_BUSIEST = 4.0  # predictions a second of the busiest device's model, over those of the average one
_LOG_LINES = (
    "WARNING camera: frame dropped",
    "WARNING agent: clock stepped by 0.8 s",
    "ERROR model: InputError: 0 bytes",
)
_LOG_CHANCE = 0.002


class Nature(Struct, frozen=True):
    """What a device is like, for as long as it is simulated."""

    board: Board
    fault: Fault
    models: tuple[Model, ...]
    release: str
    predictions_a_second: float
    error_rate: float
    keep_alive_s: float


class _Wandering:
    """A value that wanders about a middle, and is drawn back to it."""

    __slots__ = ("_middle", "_step", "_value")

    def __init__(self, middle: float, step: float, chance: random.Random) -> None:
        self._middle, self._step = middle, step
        self._value = middle + chance.gauss(0, 2 * step)

    def next(self, chance: random.Random, *, high: float = 100.0, digits: int = 1) -> float:
        self._value += 0.1 * (self._middle - self._value) + chance.gauss(0, self._step)
        self._value = min(high, max(0.0, self._value))
        return round(self._value, digits)


class SimulatedDevice:
    """What one device's agent reads. Not safe to share between threads."""

    def __init__(self, nature: Nature, chance: random.Random, epoch: str, started_at: float) -> None:
        """`epoch` names its totals; `started_at` is Unix seconds, before the first reading."""
        self.nature = nature
        self._chance = chance
        self._rng = np.random.Generator(np.random.SFC64(chance.getrandbits(64)))
        self._epoch = epoch
        self._booted_at = started_at - chance.uniform(3600, 40 * 86_400)
        self._read_at = started_at
        self._busy = nature.predictions_a_second * _BUSIEST ** chance.uniform(-1, 1)
        self._totals = {model.name: Counters(nature.release, epoch, 0, Histogram()) for model in nature.models}
        self._cpu = _Wandering(chance.uniform(8, 55), 2.0, chance)
        self._memory = _Wandering(chance.uniform(25, 70), 0.5, chance)
        self._disk = _Wandering(chance.uniform(15, 85), 0.05, chance)
        self._drift = _Wandering(0.06 + nature.fault.drift, 0.01, chance)
        self._temperature = _Wandering(chance.uniform(42, 58) + nature.fault.warmer_c, 0.6, chance)

    @property
    def predictions(self) -> int:
        """How many predictions it made, over all models."""
        return sum(totals.predictions for totals in self._totals.values())

    @property
    def errors(self) -> int:
        """How many failed beside those."""
        return sum(totals.errors for totals in self._totals.values())

    def read(self, now: float) -> Reading:
        """Let the time since the last reading pass; `now` is Unix seconds."""
        elapsed = max(0.0, now - self._read_at)
        self._read_at = now
        models = {model.name: self._model(model, elapsed) for model in self.nature.models}
        return Reading(int(now * 1000), self._node(now), models, self._logs(now))

    def _node(self, now: float) -> dict[str, Value]:
        board, chance = self.nature.board, self._chance
        cpu, temperature = self._cpu.next(chance), self._temperature.next(chance)
        power = None if board.idle_w is None else round(board.idle_w * (1 + cpu / 80), 2)
        return {
            "target": board.target,
            "edgeward_version": "0.1.0",
            "python_version": "3.11.2",
            "architecture": board.architecture,
            "keep_alive_s": self.nature.keep_alive_s,
            "cpu_percent": cpu,
            "load_1m": round(cpu / 25, 2),
            "memory_used_percent": self._memory.next(chance),
            "disk_used_percent": self._disk.next(chance),
            "temperature_c": temperature,
            "uptime_s": float(round(now - self._booted_at)),
            "throttled": float(temperature > 80),
            "throttling": "temperature" if temperature > 80 else "",
            "power_w": power,
            "energy_per_prediction_j": None if power is None else float(f"{power / max(self._busy, 0.1):.3g}"),
            "gpu_percent": round(min(100.0, cpu * 1.4), 1) if board.has_gpu else None,
            "gpu_temperature_c": round(temperature - 1.5, 1) if board.has_gpu else None,
            "clock_offset_ms": round(chance.gauss(0, 4), 2),
            "spool_rows": 0,
            "spool_dropped": 0,
            "logs_dropped": 0,
        }

    def _model(self, model: Model, elapsed: float) -> ModelReading:
        self._predict(model, elapsed)
        totals, board = self._totals[model.name], self.nature.board
        p50, p95, p99 = (totals.histogram.quantile_ms(quantile) for quantile in (0.5, 0.95, 0.99))
        values: dict[str, Value] = {
            "release": self.nature.release,
            "variant": board.variant,
            "engine": board.engine,
            "runs_on": board.runs_on,
            "warning": None,
            "predictions": totals.predictions,
            "errors": totals.errors,
            "p50_ms": _rounded(p50),
            "p95_ms": _rounded(p95),
            "p99_ms": _rounded(p99),
            **self._observed(totals),
        }
        return ModelReading(values, (totals,))

    def _observed(self, totals: Counters) -> dict[str, Value]:
        """What its data look like, once there were enough of them."""
        if totals.predictions < _ENOUGH:
            return dict.fromkeys(metrics.OBSERVED)
        drift = self._drift.next(self._chance, high=2.0, digits=3)
        return {
            "drift_score": drift,
            "mean_confidence": round(max(0.3, 0.93 - drift / 3), 3),
            "accuracy": round(max(0.3, 0.96 - drift / 4), 3),
            "feedback_count": totals.predictions // 20,
            metrics.OBSERVATIONS: None,
        }

    def _predict(self, model: Model, elapsed: float) -> None:
        """Count what was predicted meanwhile."""
        made = min(_MOST_A_READING, int(self._rng.poisson(self._busy * elapsed)))
        if made == 0:
            return
        failed = int(self._rng.binomial(made, min(1.0, self.nature.error_rate + self.nature.fault.error_rate)))
        median_s = model.median_ms / 1000 * self.nature.board.pace * self.nature.fault.pace
        latencies_s = median_s * np.exp(self._rng.normal(0.0, _SPREAD, made - failed))
        latencies_s[self._rng.random(made - failed) < _TAIL] *= _TAIL_PACE
        self._totals[model.name] = self._totals[model.name].merge(
            Counters(self.nature.release, self._epoch, failed, _histogram(latencies_s))
        )

    def _logs(self, now: float) -> tuple[LogLine, ...]:
        often = _LOG_CHANCE * (20 if self.nature.fault.error_rate else 1)
        if self._chance.random() >= often:
            return ()
        return (LogLine(int(now * 1000), self._chance.choice(_LOG_LINES)),)


def _histogram(latencies_s: "np.ndarray[Any, np.dtype[np.float64]]") -> Histogram:
    """`Histogram.of`, for many latencies at once."""
    if not len(latencies_s):
        return Histogram()
    buckets = np.ceil(np.log2(latencies_s) * BUCKETS_PER_OCTAVE).astype(np.int64) - 1 - OFFSET
    counts = np.bincount(np.clip(buckets, 0, BUCKET_COUNT - 1), minlength=BUCKET_COUNT)
    return Histogram(counts.astype(np.uint64), int(latencies_s.sum() * 1e9))


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
