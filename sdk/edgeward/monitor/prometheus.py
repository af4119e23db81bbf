"""`/metrics`: the fleet as Prometheus reads it.

Totals are over all releases and epochs and never fall.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from sqlalchemy import Engine

from edgeward.monitor import queries
from edgeward.prometheus import octaves
from edgeward_runtimes.sparkplug.metrics import HEALTH


def exposition(engine: Engine) -> bytes:
    """The whole page, in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(engine))
    return generate_latest(registry)


class _Collector:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """Read the store once and yield every family."""
        yield from _device_families(queries.devices(self._engine))
        predictions = CounterMetricFamily("edgeward_predictions", "Predictions answered", labels=("device", "model"))
        errors = CounterMetricFamily("edgeward_errors", "Predictions that failed", labels=("device", "model"))
        latency = HistogramMetricFamily("edgeward_latency_seconds", "Latency", labels=("device", "model"))
        for device, model, count, failed, histogram in queries.model_totals(self._engine):
            predictions.add_metric((device, model), count)
            errors.add_metric((device, model), failed)
            latency.add_metric((device, model), octaves(histogram), sum_value=histogram.sum_ns / 1e9)
        dropped = CounterMetricFamily("edgeward_dropped_messages", "Messages that were not understood")
        dropped.add_metric((), queries.dropped(self._engine))
        yield from (predictions, errors, latency, dropped)


def _device_families(devices: list[queries.Device]) -> Iterator[Metric]:
    online = GaugeMetricFamily("edgeward_device_online", "1 when the device is online", labels=("device", "target"))
    for device in devices:
        online.add_metric((device.id, device.target or "unknown"), float(device.online))
    yield online
    for name in HEALTH:
        family = GaugeMetricFamily(f"edgeward_device_{name}", f"Latest {name} of the device", labels=("device",))
        for device in devices:
            value = getattr(device, name)
            if value is not None:
                family.add_metric((device.id,), value)
        yield family
