"""How a device is: the metrics of `sparkplug.metrics.HEALTH` and `SENSORS`, through psutil and the kernel's files."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from edgeward_runtimes.agent import sensors
from edgeward_runtimes.agent.clock import Clock
from edgeward_runtimes.agent.jetson import Jetson
from edgeward_runtimes.sparkplug.codec import Value


class Health:
    """Reads a device's health; CPU use, package power and energy are over the time since the last reading."""

    def __init__(self, disk: Path, root: Path = sensors.ROOT) -> None:
        """Watch the disk that holds `disk`; the kernel's files lie under `root`."""
        self._disk = disk
        self._root = root
        self._cores = sensors.CoreThrottling(root)
        self._package = sensors.PackagePower(root)
        self._jetson = Jetson()
        self._clock = Clock()
        self._energy = EnergyPerPrediction()
        psutil.cpu_percent()  # the first reading has nothing to compare with

    def read(self, predictions: int) -> dict[str, Value]:
        """One reading, when so many predictions were made by all models; None for what cannot be measured here."""
        return {
            "cpu_percent": round(psutil.cpu_percent(), 1),
            "load_1m": round(os.getloadavg()[0], 2),
            "memory_used_percent": psutil.virtual_memory().percent,
            "disk_used_percent": psutil.disk_usage(str(self._disk)).percent,
            "temperature_c": _rounded(sensors.temperature_c(self._root), 1),
            "uptime_s": float(round(time.time() - psutil.boot_time())),
            **self._sensors(predictions),
        }

    def close(self) -> None:
        """Leave the services that were asked."""
        self._jetson.close()

    def _sensors(self, predictions: int) -> dict[str, Value]:
        throttling = sensors.raspberry_throttling(self._root) or self._cores.read()
        jetson = self._jetson.read()
        package = self._package.read()
        power = next(
            (watts for watts in (jetson.power_w, sensors.board_power_w(self._root), package) if watts is not None), None
        )
        return {
            "throttled": None if throttling is None else float(throttling.is_slower),
            "throttling": None if throttling is None else throttling.reasons,
            "power_w": _rounded(power, 2),
            "energy_per_prediction_j": self._energy.read(power, predictions),
            "gpu_percent": _rounded(jetson.gpu_percent, 1),
            "gpu_temperature_c": _rounded(jetson.gpu_temperature_c, 1),
            "clock_offset_ms": _rounded(self._clock.offset_ms(), 2),
        }


class EnergyPerPrediction:
    """What a device used, over the predictions that it made meanwhile."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._clock = clock
        self._before: tuple[float, int] | None = None

    def read(self, power_w: float | None, predictions: int) -> float | None:
        """Joules a prediction since the last reading, to four digits; None without power or predictions."""
        now, before = self._clock(), self._before
        self._before = (now, predictions)
        if power_w is None or before is None or predictions <= before[1]:
            return None
        return float(f"{power_w * (now - before[0]) / (predictions - before[1]):.4g}")


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
