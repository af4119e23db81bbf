"""One reading of a device, from its home: what is installed, what was counted, how it is."""

import platform
import time

from edgeward_runtimes.agent.config import AgentConfig
from edgeward_runtimes.agent.health import Health
from edgeward_runtimes.commands import edgeward_version, model_status
from edgeward_runtimes.errors import EdgewardError
from edgeward_runtimes.home import Home
from edgeward_runtimes.install.slots import Slots
from edgeward_runtimes.latency.counters import Counters
from edgeward_runtimes.latency.fold import CounterStore
from edgeward_runtimes.latency.histogram import Histogram
from edgeward_runtimes.sparkplug.codec import Value
from edgeward_runtimes.sparkplug.session import ModelReading, Reading


class Reader:
    """Takes readings."""

    def __init__(self, config: AgentConfig, home: Home) -> None:
        """Open the device's counters. Raises InstallError when another agent has them."""
        self._home = home
        self._counters = CounterStore(home)
        self._health = Health(home.root)
        self._facts: dict[str, Value] = {
            "target": config.target,
            "edgeward_version": edgeward_version(),
            "python_version": platform.python_version(),
            "architecture": platform.machine(),
            "keep_alive_s": float(config.keep_alive_s),
        }

    def read(self) -> Reading:
        """Fold what dead processes counted, then read everything."""
        counted = self._counters.collect()
        installed = {folder.name for folder in self._home.models.glob("*") if (folder / "current").exists()}
        models = {
            name: _model_reading(self._home, name, counted.get(name, ())) for name in sorted(installed | set(counted))
        }
        return Reading(int(time.time() * 1000), {**self._facts, **self._health.read()}, models)

    def told(self, reading: Reading) -> None:
        """Take note that a host was told a reading's totals."""
        for name, model in reading.models.items():
            self._counters.told(name, model.totals)

    def close(self) -> None:
        """Let another agent count."""
        self._counters.close()


def _model_reading(home: Home, name: str, totals: tuple[Counters, ...]) -> ModelReading:
    """A model's metrics; its plain numbers are those of its current release, over all epochs."""
    try:
        status = model_status(Slots(home, name))
    except EdgewardError:  # counted once, but no longer installed
        return ModelReading(dict.fromkeys(("release", "variant", "engine", "runs_on", "warning")), totals)
    ours = [each for each in totals if each.release == status.release]
    latency = Histogram()
    for each in ours:
        latency = latency.merge(each.histogram)
    values: dict[str, Value] = {
        "release": status.release,
        "variant": status.variant,
        "engine": status.engine,
        "runs_on": ",".join(status.runs_on) or None,
        "warning": status.warning,
        "predictions": latency.count,
        "errors": sum(each.errors for each in ours),
        "p50_ms": latency.quantile_ms(0.5),
        "p95_ms": latency.quantile_ms(0.95),
        "p99_ms": latency.quantile_ms(0.99),
    }
    return ModelReading(values, totals)
