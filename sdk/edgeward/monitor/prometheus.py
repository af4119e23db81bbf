"""`/metrics`: the fleet as Prometheus reads it, as protobuf with native histograms or as text with classic ones.

Totals are over all epochs and never fall. By model and release they are always there; by device only in fleets up to a
size, so that a growing fleet does not fill a Prometheus server. Our latency buckets are those of a native histogram of
schema 4, so they come across without loss; the classic ones beside them have bounds at powers of two.
"""

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf.proto import serialize_length_prefixed
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from sqlalchemy import Engine

from edgeward.monitor import metrics_pb2 as wire
from edgeward.monitor import queries
from edgeward.prometheus import octaves
from edgeward_runtimes.latency.histogram import OFFSET, SCALE, Histogram
from edgeward_runtimes.sparkplug.metrics import HEALTH

_PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
_ZERO_THRESHOLD = 2.0**-128  # Prometheus's own default: nothing of ours is as short
_BY_MODEL, _BY_DEVICE = ("model", "release"), ("device", "model")


class _Latency:
    """A family of histograms by label values."""

    def __init__(self, name: str, labels: Sequence[str]) -> None:
        self.name, self.labels = name, labels
        self.histograms: dict[tuple[str, ...], Histogram] = {}


_Family = Metric | _Latency


def exposition(engine: Engine, accept: str = "", *, devices_up_to: int = 100) -> tuple[bytes, str]:
    """The whole page in the format that `accept` asks for, and that format's media type."""
    families = list(_families(engine, devices_up_to))
    if _asks_for_protobuf(accept):
        return _as_protobuf(families), _PROTOBUF
    return _as_text(families), CONTENT_TYPE_LATEST


def _asks_for_protobuf(accept: str) -> bool:
    """Whether Prometheus would rather have protobuf than text: it is named, and not less wanted."""
    wanted = {"application/vnd.google.protobuf": 0.0, "text/plain": 0.0, "application/openmetrics-text": 0.0}
    for part in accept.split(","):
        kind, *parameters = (each.strip() for each in part.split(";"))
        quality = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        if kind in wanted and re.fullmatch(r"[01](\.\d{0,3})?", quality):
            wanted[kind] = max(wanted[kind], float(quality))
    protobuf = wanted.pop("application/vnd.google.protobuf")
    return protobuf > 0 and protobuf >= max(wanted.values())


def _families(engine: Engine, devices_up_to: int) -> Iterator[_Family]:
    fleet = queries.overview(engine)
    conditions = {(name,): count for name, count in fleet.conditions.items()}
    yield _gauge("edgeward_devices", "Devices by condition", ("condition",), conditions)
    yield _gauge("edgeward_alerts_firing", "Alerts that fire", (), {(): fleet.alerts_firing})
    dropped = CounterMetricFamily("edgeward_dropped_messages", "Messages that were not understood")
    dropped.add_metric((), queries.dropped(engine))
    yield dropped
    totals = queries.release_totals(engine)
    yield from _counted("edgeward_model_", _BY_MODEL, ((key, *total) for key, total in totals.items()))
    drift = {(each.name,): each.worst_drift for each in queries.models(engine) if each.worst_drift is not None}
    yield _gauge("edgeward_model_worst_drift", "Largest drift score on a device", ("model",), drift)
    if fleet.devices <= devices_up_to:
        rows = ((row[:2], *row[2:]) for row in queries.model_totals(engine))
        yield from _counted("edgeward_", _BY_DEVICE, rows)
        yield from _by_device(queries.devices(engine))


def _counted(
    prefix: str, labels: Sequence[str], rows: Iterable[tuple[tuple[str, ...], int, int, Histogram]]
) -> Iterator[_Family]:
    predictions = CounterMetricFamily(f"{prefix}predictions", "Predictions answered", labels=labels)
    errors = CounterMetricFamily(f"{prefix}errors", "Predictions that failed", labels=labels)
    latency = _Latency(f"{prefix}latency_seconds", labels)
    for key, count, failed, histogram in rows:
        predictions.add_metric(key, count)
        errors.add_metric(key, failed)
        latency.histograms[key] = histogram
    yield from (predictions, errors, latency)


def _gauge(name: str, text: str, labels: Sequence[str], values: Mapping[Any, float]) -> Metric:
    """A gauge by tuples of label values."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _by_device(devices: list[queries.Device]) -> Iterator[Metric]:
    online = GaugeMetricFamily("edgeward_device_online", "1 when the device is online", labels=("device", "target"))
    for device in devices:
        online.add_metric((device.id, device.target or "unknown"), float(device.online))
    yield online
    for name in HEALTH:
        present = {(device.id,): value for device in devices if (value := getattr(device, name)) is not None}
        yield _gauge(f"edgeward_device_{name}", f"Latest {name} of the device", ("device",), present)


def _as_text(families: Iterable[_Family]) -> bytes:
    class Collector:
        def collect(self) -> Iterator[Metric]:
            for family in families:
                yield _classic(family) if isinstance(family, _Latency) else family

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return generate_latest(registry)


def _classic(family: _Latency) -> Metric:
    metric = HistogramMetricFamily(family.name, "Latency", labels=family.labels)
    for key, histogram in family.histograms.items():
        metric.add_metric(key, octaves(histogram), sum_value=histogram.sum_ns / 1e9)
    return metric


def _as_protobuf(families: Iterable[_Family]) -> bytes:
    """Each family behind its length."""
    page = io.BytesIO()
    for family in families:
        serialize_length_prefixed(_native(family) if isinstance(family, _Latency) else _plain(family), page)
    return page.getvalue()


def _plain(family: Metric) -> wire.MetricFamily:
    """A counter or gauge; a counter's name ends with _total here, too."""
    counts = family.type == "counter"
    kind = wire.COUNTER if counts else wire.GAUGE
    message = wire.MetricFamily(
        name=f"{family.name}_total" if counts else family.name, help=family.documentation, type=kind
    )
    for sample in family.samples:
        metric = message.metric.add(label=_labels(sample.labels.items()))
        (metric.counter if counts else metric.gauge).value = sample.value
    return message


def _native(family: _Latency) -> wire.MetricFamily:
    message = wire.MetricFamily(name=family.name, help="Latency", type=wire.HISTOGRAM)
    for key, histogram in family.histograms.items():
        metric = message.metric.add(label=_labels(zip(family.labels, key, strict=True)))
        native = metric.histogram
        native.sample_count, native.sample_sum = histogram.count, histogram.sum_ns / 1e9
        native.schema, native.zero_threshold = SCALE, _ZERO_THRESHOLD
        native.positive_span.extend(_spans(np.flatnonzero(histogram.counts).tolist()))
        filled = [int(count) for count in histogram.counts[histogram.counts > 0]]
        native.positive_delta.extend(count - before for before, count in zip([0, *filled], filled, strict=False))
        native.bucket.extend(
            wire.Bucket(cumulative_count=int(count), upper_bound=float(bound)) for bound, count in octaves(histogram)
        )
    return message


def _spans(filled: list[int]) -> list[wire.BucketSpan]:
    """Runs of neighbouring buckets. Our bucket i is Prometheus's i + OFFSET + 1: the one with that exponent above."""
    spans: list[wire.BucketSpan] = []
    after = -OFFSET - 1
    for bucket in filled:
        if spans and bucket == after:
            spans[-1].length += 1
        else:
            spans.append(wire.BucketSpan(offset=bucket - after, length=1))
        after = bucket + 1
    return spans or [wire.BucketSpan(offset=0, length=0)]  # says that it is a native one, though nothing was counted


def _labels(pairs: Iterable[tuple[str, str]]) -> list[wire.LabelPair]:
    return [wire.LabelPair(name=name, value=value) for name, value in pairs]
