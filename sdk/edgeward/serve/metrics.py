"""`/metrics`: what the model counted in this process, and what came over HTTP.

    edgeward_predictions_total, edgeward_errors_total, edgeward_latency_seconds    by model and release: `predict` calls
    edgeward_requests_total      by protocol and outcome: answered, refused (the request's fault), failed (ours)
    edgeward_samples_total       by protocol: samples in the requests that were answered

Requests that share a batch are one prediction; requests over predictions is how well batching does. The first three are
the model's own and begin at zero with a release; a release that is no longer live leaves this page, while its counts
stay in its latency file and so in the agent's totals.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Literal

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from edgeward.prometheus import octaves
from edgeward.serve.served import Served

Protocol = Literal["v2", "tensorflow"]


class Metrics:
    """Counts requests; belongs to one event loop."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._requests: Counter[tuple[Protocol, str]] = Counter()
        self._samples: Counter[Protocol] = Counter()

    def answered(self, protocol: Protocol, samples: int) -> None:
        """Count a request that was answered with outputs."""
        self._requests[protocol, "answered"] += 1
        self._samples[protocol] += samples

    def turned_down(self, protocol: Protocol, status: int) -> None:
        """Count a request that was answered with an error, by its HTTP status."""
        self._requests[protocol, "failed" if status >= 500 else "refused"] += 1

    def exposition(self) -> bytes:
        """The whole page, in Prometheus's text format."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        key = (self._served.name, self._served.release)
        counted = self._served.model.latency
        predictions = CounterMetricFamily("edgeward_predictions", "Predictions answered", labels=("model", "release"))
        predictions.add_metric(key, counted.predictions)
        errors = CounterMetricFamily("edgeward_errors", "Predictions that failed", labels=("model", "release"))
        errors.add_metric(key, counted.errors)
        latency = HistogramMetricFamily("edgeward_latency_seconds", "Latency", labels=("model", "release"))
        latency.add_metric(key, octaves(counted.histogram), sum_value=counted.histogram.sum_ns / 1e9)
        requests = CounterMetricFamily("edgeward_requests", "Requests to predict", labels=("protocol", "outcome"))
        for request_key, count in self._requests.items():
            requests.add_metric(request_key, count)
        samples = CounterMetricFamily("edgeward_samples", "Samples in answered requests", labels=("protocol",))
        for protocol, count in self._samples.items():
            samples.add_metric((protocol,), count)
        yield from (predictions, errors, latency, requests, samples)
