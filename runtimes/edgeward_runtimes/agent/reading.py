"""One reading of a device, from its home: what is installed, what was counted, how it is.

The agent lives beside the models, so it imports little: neither `commands` nor importlib.metadata, which would take
three megabytes for one word.
"""

import platform
import sys
import time
from pathlib import Path

from edgeward_runtimes.agent.config import AgentConfig
from edgeward_runtimes.agent.health import Health
from edgeward_runtimes.errors import EdgewardError
from edgeward_runtimes.home import Home
from edgeward_runtimes.install import result
from edgeward_runtimes.install.slots import Slots
from edgeward_runtimes.install.watching import Watcher
from edgeward_runtimes.latency.counters import Counters
from edgeward_runtimes.latency.fold import CounterStore
from edgeward_runtimes.latency.histogram import Histogram
from edgeward_runtimes.observation import settings, summary
from edgeward_runtimes.observation.capture import Ring
from edgeward_runtimes.observation.store import ObservationStore, Observed
from edgeward_runtimes.sparkplug import metrics
from edgeward_runtimes.sparkplug.codec import Value
from edgeward_runtimes.sparkplug.session import ModelReading, Reading

_UNSEEN: dict[str, Value] = dict.fromkeys(metrics.OBSERVED)


class Reader:
    """Takes readings."""

    def __init__(self, config: AgentConfig, home: Home) -> None:
        """Open the device's counters. Raises InstallError when another agent has them."""
        self._home = home
        self._counters = CounterStore(home)
        self._observations = Observations(home, config.observed_every_s)
        self._watcher = Watcher(home)
        self._health = Health(home.root)
        self._facts: dict[str, Value] = {
            "target": config.target,
            "edgeward_version": edgeward_version(),
            "python_version": platform.python_version(),
            "architecture": platform.machine(),
            "keep_alive_s": float(config.keep_alive_s),
        }

    def read(self) -> Reading:
        """Fold what dead processes counted, judge releases that are new, then read everything."""
        counted = self._counters.collect()
        self._watcher.attend(counted)
        installed = {folder.name for folder in self._home.models.glob("*") if (folder / "current").exists()}
        models = {
            name: _model_reading(self._home, name, counted.get(name, ())) for name in sorted(installed | set(counted))
        }
        self._observations.refresh(time.monotonic())
        for name, model in models.items():
            model.values.update(self._observations.of(name, model.values["release"]))
        predictions = sum(each.predictions for totals in counted.values() for each in totals)
        return Reading(int(time.time() * 1000), {**self._facts, **self._health.read(predictions)}, models)

    def told(self, reading: Reading) -> None:
        """Take note that a host was told a reading's totals."""
        for name, model in reading.models.items():
            self._counters.told(name, model.totals)

    def close(self) -> None:
        """Let another agent count."""
        self._health.close()
        self._counters.close()


class Observations:
    """What is told of models' samples: read anew once a minute, so that it costs the network next to nothing."""

    def __init__(self, home: Home, every_s: float) -> None:
        self._home, self._every_s = home, every_s
        self._store = ObservationStore(home)
        self._due = float("-inf")
        self._observed: dict[str, tuple[str, dict[str, Value]]] = {}

    def refresh(self, now: float) -> None:
        """Read everything anew, if it is time (seconds of a monotonic clock), and remove samples that have expired."""
        if now < self._due:
            return
        self._due = now + self._every_s
        collected = self._store.collect()
        self._observed = {name: (each.release, self._values(name, each)) for name, each in collected.items()}
        for folder in self._home.root.glob(f"{settings.FOLDER}/*"):
            wanted = settings.read(self._home.root, folder.name).capture or settings.Capture()
            Ring(settings.captured(self._home.root, folder.name), wanted).trim(time.time_ns())

    def of(self, model: str, release: Value) -> dict[str, Value]:
        """The metrics of a model, all None where nothing was seen of this release."""
        seen, values = self._observed.get(model, (None, _UNSEEN))
        return values if seen == release else _UNSEEN

    def _values(self, model: str, observed: Observed) -> dict[str, Value]:
        tally = observed.tally
        found = summary.summarize(self._store.reference(model, observed.release), tally)
        return {
            "drift_score": found.drift_score,
            "mean_confidence": None if tally.mean_confidence is None else round(tally.mean_confidence, 4),
            "accuracy": tally.accuracy,
            "feedback_count": tally.judged,
            metrics.OBSERVATIONS: summary.pack(found),
        }


def edgeward_version() -> str:
    """The installed distribution's version, from its folder's name."""
    for entry in sys.path:
        for folder in Path(entry).glob("edgeward-*.dist-info"):
            return folder.name.removeprefix("edgeward-").removesuffix(".dist-info")
    return "unknown"  # run from a folder that was copied and not installed


def _model_reading(home: Home, name: str, totals: tuple[Counters, ...]) -> ModelReading:
    """A model's metrics; its plain numbers are those of its current release, over all epochs."""
    values = _installed(home, name)
    ours = [each for each in totals if each.release == values["release"]]
    latency = Histogram()
    for each in ours:
        latency = latency.merge(each.histogram)
    if values["release"] is not None:
        values |= {
            "predictions": latency.count,
            "errors": sum(each.errors for each in ours),
            "p50_ms": latency.quantile_ms(0.5),
            "p95_ms": latency.quantile_ms(0.95),
            "p99_ms": latency.quantile_ms(0.99),
        }
    return ModelReading(values, totals)


def _installed(home: Home, name: str) -> dict[str, Value]:
    """The current release and how it runs; all None for a model that was counted once, but is no longer installed."""
    values: dict[str, Value] = dict.fromkeys(("release", "variant", "engine", "runs_on", "warning"))
    try:
        folder = Slots(home, name).current()
        tested = result.read(folder)
    except EdgewardError:
        return values
    values["release"] = folder.name
    if tested is not None:
        choice = tested.choice
        trial = next(trial for trial in tested.trials if trial.check.id == choice.id)
        values |= {
            "variant": choice.id,
            "engine": choice.engine,
            "runs_on": ",".join(trial.runs_on) or None,
            "warning": trial.warning,
        }
    return values
