"""How a device is: the metrics of `sparkplug.metrics.HEALTH`, through psutil and the kernel's thermal zones."""

import os
import time
from pathlib import Path

import psutil

from edgeward_runtimes.sparkplug.codec import Value

_THERMAL_ZONES = Path("/sys/class/thermal")


class Health:
    """Reads a device's health; CPU use is over the time since the last reading."""

    def __init__(self, disk: Path) -> None:
        """Watch the disk that holds `disk`."""
        self._disk = disk
        psutil.cpu_percent()  # the first reading has nothing to compare with

    def read(self) -> dict[str, Value]:
        """One reading; None for what this device cannot measure."""
        temperature = temperature_c()
        return {
            "cpu_percent": round(psutil.cpu_percent(), 1),
            "load_1m": round(os.getloadavg()[0], 2),
            "memory_used_percent": psutil.virtual_memory().percent,
            "disk_used_percent": psutil.disk_usage(str(self._disk)).percent,
            "temperature_c": None if temperature is None else round(temperature, 1),
            "uptime_s": float(round(time.time() - psutil.boot_time())),
        }


def temperature_c(zones: Path = _THERMAL_ZONES) -> float | None:
    """The hottest thermal zone in °C, or None where the kernel shows none (virtual machines)."""
    readings = []
    for zone in sorted(zones.glob("thermal_zone*/temp")):
        try:
            readings.append(int(zone.read_text()) / 1000)
        except (OSError, ValueError):
            continue  # a zone that is powered down answers with an error
    return max(readings, default=None)
