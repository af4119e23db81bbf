"""/metrics: exact in both formats, bounded in size, and what the Grafana dashboard asks for is there."""

import io
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from google.protobuf.proto import parse_length_prefixed
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine

from edgeward.listening import listening
from edgeward.monitor import database, metrics_pb2, prometheus, store
from edgeward.monitor.api import make_app
from edgeward.monitor.updates import ModelSeen, NodeSeen
from edgeward_runtimes.latency.counters import Counters
from edgeward_runtimes.latency.histogram import Histogram, upper_bound_s
from tests.conftest import REPOSITORY, wait_for

_PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
_PROMETHEUS_ASKS = (
    f"{_PROTOBUF},application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
_EXAMPLE = REPOSITORY / "examples" / "grafana"

latencies = st.lists(st.integers(0, 2_000_000_000_000), max_size=60)


def _counted(device: str, release: str, latencies_ns: list[int], errors: int = 1) -> ModelSeen:
    totals = (Counters(release, "e", errors, Histogram.of(latencies_ns)),)
    return ModelSeen("f", device, "toy", 60.0, {"release": release}, totals)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = database.open_engine(f"sqlite:///{tmp_path / 'monitor.db'}")
    devices = [NodeSeen("f", name, 60.0, True, {"temperature_c": 50.0, "keep_alive_s": 1e12}) for name in ("a", "b")]
    models = [_counted("a", "1.0.0-aa", [2_000_000] * 90), _counted("b", "1.0.0-aa", [40_000_000] * 10)]
    store.apply(engine, [*devices, *models, _counted("b", "1.1.0-bb", [1_000_000] * 5, errors=0)])
    return engine


def _families(page: bytes) -> dict[str, metrics_pb2.MetricFamily]:
    stream, found = io.BytesIO(page), {}
    while (family := parse_length_prefixed(metrics_pb2.MetricFamily, stream)) is not None:
        found[family.name] = family
    return found


def _names(engine: Engine) -> set[str]:
    page, _ = prometheus.exposition(engine)
    return {sample.name for family in text_string_to_metric_families(page.decode()) for sample in family.samples}


@given(latencies)
def test_native_buckets_are_ours_without_loss(latencies_ns: list[int]) -> None:
    histogram = Histogram.of(latencies_ns)
    family = prometheus._Latency("latency", ())
    family.histograms[()] = histogram
    native = prometheus._native(family).metric[0].histogram
    index, count, read = 0, 0, {}
    deltas = iter(native.positive_delta)
    for span in native.positive_span:
        index += span.offset
        for _ in range(span.length):
            count += next(deltas)
            read[2.0 ** (index / 2**native.schema)] = (
                count  # Prometheus: bucket i ends at base ** i, base = 2 ** 2 ** -schema
            )
            index += 1
    ours = {upper_bound_s(bucket): int(count) for bucket, count in enumerate(histogram.counts) if count}
    assert read == pytest.approx(ours)
    assert sum(read.values()) == native.sample_count == len(latencies_ns)
    assert native.sample_sum == pytest.approx(sum(latencies_ns) / 1e9)
    assert len(native.positive_span) >= 1, "or Prometheus would not know it for a native one"


@pytest.mark.parametrize(
    ("accept", "is_protobuf"),
    [
        (_PROMETHEUS_ASKS, True),
        (_PROTOBUF, True),
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        (f"text/plain;q=0.9,{_PROTOBUF};q=0.3", False),
        (f"{_PROTOBUF};q=0", False),
        ("application/vnd.google.protobuf;q=nonsense", False),
    ],
)
def test_the_format_is_the_one_that_is_asked_for(accept: str, is_protobuf: bool, engine: Engine) -> None:
    page, media_type = prometheus.exposition(engine, accept)
    assert ("protobuf" in media_type) == is_protobuf
    assert ("edgeward_devices" in _families(page)) if is_protobuf else page.startswith(b"# HELP")


def test_both_formats_say_the_same(engine: Engine) -> None:
    text, _ = prometheus.exposition(engine)
    plain = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }
    for family in _families(prometheus.exposition(engine, _PROTOBUF)[0]).values():
        for metric in family.metric:
            labels = sorted(label.value for label in metric.label)
            match family.type:
                case metrics_pb2.HISTOGRAM:
                    assert plain[(f"{family.name}_count", *labels)] == metric.histogram.sample_count
                    assert plain[(f"{family.name}_bucket", *sorted(["+Inf", *labels]))] == metric.histogram.sample_count
                case metrics_pb2.COUNTER:
                    assert plain[(family.name, *labels)] == metric.counter.value
                case _:
                    assert plain[(family.name, *labels)] == metric.gauge.value
    assert plain["edgeward_model_predictions_total", "1.0.0-aa", "toy"] == 100
    assert plain["edgeward_model_errors_total", "1.0.0-aa", "toy"] == 2
    assert plain["edgeward_devices", "ok"] == 2


def test_series_by_device_are_there_in_small_fleets_alone(engine: Engine) -> None:
    assert b'device="f/a"' in prometheus.exposition(engine, devices_up_to=2)[0]
    page, _ = prometheus.exposition(engine, devices_up_to=1)
    assert b"device=" not in page
    assert b'edgeward_model_predictions_total{model="toy",release="1.0.0-aa"} 100.0' in page


def _queries() -> list[str]:
    dashboard = json.loads((_EXAMPLE / "edgeward-fleet.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_the_grafana_dashboard_asks_for_metrics_that_there_are(engine: Engine) -> None:
    store.apply(engine, [ModelSeen("f", "a", "toy", 61.0, {"release": "1.0.0-aa", "drift_score": 0.1}, ())])
    names = _names(engine) | {"edgeward_model_latency_seconds"}
    asked = {name for query in _queries() for name in re.findall(r"edgeward_\w+", query)}
    assert len(asked) > 6
    assert asked <= names


@pytest.fixture
def server(engine: Engine) -> Iterator[str]:
    with listening("127.0.0.1", 0, "") as web:
        running = uvicorn.Server(uvicorn.Config(make_app(engine, {}), log_level="warning"))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [web]}, daemon=True)
        thread.start()
        yield f"127.0.0.1:{web.getsockname()[1]}"
        running.should_exit = True
        thread.join()


def test_a_prometheus_server_reads_true_percentiles_and_answers_the_dashboard(
    server: str, engine: Engine, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed: apt-get install prometheus")
    config = (_EXAMPLE / "prometheus.yml").read_text()
    (tmp_path / "prometheus.yml").write_text(config.replace("127.0.0.1:8080", server).replace("15s", "500ms"))
    address = f"127.0.0.1:{free_port()}"
    flags = ["--enable-feature=native-histograms", f"--storage.tsdb.path={tmp_path / 'data'}"]
    command = [program, f"--config.file={tmp_path / 'prometheus.yml'}", f"--web.listen-address={address}", *flags]

    def ask(query: str) -> list[dict]:
        answer = httpx.get(f"http://{address}/api/v1/query", params={"query": query}).json()
        assert answer["status"] == "success", answer
        return answer["data"]["result"]

    def is_scraped() -> bool:
        try:
            return len(ask("count_over_time(edgeward_alerts_firing[1m]) >= 2")) > 0
        except (httpx.HTTPError, ValueError):
            return False

    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            wait_for(is_scraped, "two scrapes", within_s=60)
            [p50] = ask("histogram_quantile(0.5, sum(edgeward_model_latency_seconds))")
            [p99] = ask("histogram_quantile(0.99, sum(edgeward_model_latency_seconds))")
            assert float(p50["value"][1]) == pytest.approx(0.002, rel=0.045)
            assert float(p99["value"][1]) == pytest.approx(0.040, rel=0.045), "classic buckets would say up to 0.0625"
            for query in _queries():
                found = ask(query.replace("$model", ".*").replace("$__rate_interval", "1m"))
                assert found or "drift" in query, query
        finally:
            running.terminate()
