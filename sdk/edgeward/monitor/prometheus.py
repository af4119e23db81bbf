"""`/metrics`: the fleet as Prometheus reads it.

Latencies are classic histograms with bounds at powers of two, each the sum of sixteen of our buckets, so nothing is
lost but resolution. Totals are over all releases and epochs and never fall.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from sqlalchemy import Engine

from edgeward.monitor import queries
from edgeward_runtimes.latency.histogram import BUCKETS_PER_OCTAVE, Histogram, upper_bound_s
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


def octaves(histogram: Histogram) -> list[tuple[str, float]]:
    """Cumulative counts by upper bound in seconds, as powers of two, ending with +Inf."""
    counts = histogram.counts.reshape(-1, BUCKETS_PER_OCTAVE).sum(axis=1).cumsum()
    bounds = [repr(upper_bound_s((index + 1) * BUCKETS_PER_OCTAVE - 1)) for index in range(len(counts))]
    # The last octave also holds what took longer, so it is the one without a bound.
    return [*zip(bounds[:-1], map(float, counts[:-1]), strict=True), ("+Inf", float(counts[-1]))]


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
