"""Power and GPU of an NVIDIA Jetson, as its service jtop (package jetson-stats) tells; absent elsewhere."""

import logging
from typing import Any

from msgspec import Struct

_log = logging.getLogger("edgeward.agent")


class JetsonReading(Struct, frozen=True):
    """What jtop tells; None for what this board does not measure."""

    power_w: float | None = None
    gpu_percent: float | None = None
    gpu_temperature_c: float | None = None


class Jetson:
    """A client of jtop's service, if package and service are there."""

    def __init__(self) -> None:
        self._client: Any = None
        try:
            from jtop import jtop  # type: ignore[import-not-found]
        except ImportError:
            return
        try:
            self._client = jtop()
            self._client.start()
        except Exception as error:  # jtop has errors of its own, and those of its connection
            _log.warning("jetson-stats is installed, but its service does not answer: %s", error)
            self._client = None

    def read(self) -> JetsonReading:
        """The latest values; all None where there is no jtop."""
        if self._client is None:
            return JetsonReading()
        try:
            stats = dict(self._client.stats)
        except Exception as error:  # the service was restarted or removed
            _log.warning("jetson-stats' service is gone: %s", error)
            self.close()
            return JetsonReading()
        milliwatts = _number(stats, "Power TOT")
        return JetsonReading(
            power_w=None if milliwatts is None else milliwatts / 1000,
            gpu_percent=_number(stats, "GPU"),
            gpu_temperature_c=_number(stats, "Temp gpu", "Temp GPU"),
        )

    def close(self) -> None:
        """Leave the service."""
        if self._client is not None:
            self._client.close()
            self._client = None


def _number(stats: dict[str, Any], *names: str) -> float | None:
    """The first that is there as a number: jtop writes OFF, and -256 °C, for what is powered down."""
    for name in names:
        value = stats.get(name)
        if isinstance(value, int | float) and value > -256:
            return float(value)
    return None
