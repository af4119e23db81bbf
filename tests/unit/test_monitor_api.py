"""REST: pages that never overlap, filters that find, conditions that say why, one shape for all errors."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, insert

from edgeward.monitor import database, queries, store
from edgeward.monitor.alerts.tables import alerts
from edgeward.monitor.api import make_app
from edgeward.monitor.queries import counting
from edgeward.monitor.updates import LogLine, LogsSeen, ModelDied, ModelSeen, NodeDied, NodeSeen
from edgeward_runtimes.latency.counters import Counters
from edgeward_runtimes.latency.histogram import Histogram

_FOREVER = {"keep_alive_s": 1e12}
latencies = st.lists(st.integers(0, 2_000_000_000_000), max_size=20)


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    engine = database.open_engine(store_url)
    yield engine
    engine.dispose()


@pytest.fixture
def client(engine: Engine) -> Iterator[TestClient]:
    with TestClient(make_app(engine, {})) as client:
        yield client


@pytest.fixture
def local(tmp_path: Path) -> TestClient:
    return TestClient(make_app(database.open_engine(f"sqlite:///{tmp_path / 'monitor.db'}"), {}))


def _node(name: str, **values) -> NodeSeen:
    return NodeSeen("f", name, 60.0, True, {**_FOREVER, **values})


def _model(device: str, count: int, release: str = "1.0.0-aa", model: str = "toy", **values) -> ModelSeen:
    totals = (Counters(release, "e", 1, Histogram.of([2_000_000] * count)),)
    return ModelSeen("f", device, model, 60.0, {"release": release, "variant": "litert-int8", **values}, totals)


def _ids(client: TestClient, **query) -> list[str]:
    answer = client.get("/api/devices", params=query)
    assert answer.status_code == 200, answer.text
    return [device["device"] for device in answer.json()]


def test_pages_hold_every_device_once_and_say_where_the_next_one_is(engine: Engine, client: TestClient) -> None:
    store.apply(engine, [_node(f"d{number:02}", temperature_c=number % 3) for number in range(25)])
    for sort in queries.SORTS:
        seen, url = [], f"/api/devices?limit=10&sort={sort}&q=d"
        while url:
            answer = client.get(url)
            seen += [device["device"] for device in answer.json()]
            assert answer.headers["X-Total-Count"] == "25"
            url = answer.links.get("next", {}).get("url")
        assert sorted(seen) == [f"d{number:02}" for number in range(25)], sort


def test_devices_are_found_by_words_and_filters(engine: Engine, client: TestClient) -> None:
    store.apply(
        engine, [_node("a_1", target="raspberrypi4"), _node("b%2", target="x86-64"), _node("ax2"), NodeDied("f", "ax2")]
    )
    store.apply(engine, [_model("a_1", 5, model="digits"), _model("b%2", 7, release="2.0.0-bb")])
    assert _ids(client, q="A_1") == ["a_1"], "an underscore is no wildcard"
    assert _ids(client, q="%") == ["b%2"]
    assert _ids(client, q="raspberry digits") == ["a_1"]
    assert _ids(client, q="raspberry 2.0.0") == []
    assert _ids(client, q="2.0.0-b") == ["b%2"]
    assert _ids(client, q="offline") == _ids(client, online=False) == _ids(client, condition="offline") == ["ax2"]
    assert _ids(client, q="online") == _ids(client, online=True) == ["a_1", "b%2"]
    assert _ids(client, target="x86-64") == ["b%2"]
    assert _ids(client, model="digits") == ["a_1"]
    assert _ids(client, sort="predictions") == ["b%2", "a_1", "ax2"]
    assert _ids(client, sort="worst") == ["ax2", "a_1", "b%2"]
    assert client.get("/api/overview").json()["targets"] == ["raspberrypi4", "x86-64"]


def test_a_device_is_as_well_as_its_worst_reading(engine: Engine, client: TestClient) -> None:
    readings = [
        ({}, "ok", []),
        ({"temperature_c": 79.9, "disk_used_percent": 50.0}, "ok", []),
        ({"temperature_c": 85.0}, "warning", ["85 °C"]),
        ({"temperature_c": 95.0}, "bad", ["95 °C"]),
        ({"disk_used_percent": 98.0, "throttled": 1.0}, "bad", ["disk 98 % full", "throttled"]),
        ({"memory_used_percent": 92.0}, "warning", ["memory 92 % used"]),
        ({"throttled": 1.0}, "warning", ["throttled"]),
    ]
    store.apply(engine, [_node(f"d{number}", **values) for number, (values, *_) in enumerate(readings)])
    shown = [(device["condition"], device["reasons"]) for device in client.get("/api/devices").json()]
    assert shown == [(condition, reasons) for _, condition, reasons in readings]
    fleet = client.get("/api/overview").json()
    assert fleet["map"] == "".join(str(queries.CONDITIONS.index(condition)) for condition, _ in shown)
    assert fleet["conditions"] == {"ok": 2, "warning": 3, "bad": 2, "offline": 0}
    assert _ids(client, sort="worst") == ["d3", "d4", "d2", "d5", "d6", "d0", "d1"]


def test_models_that_drift_and_alerts_that_fire_make_a_device_worse(engine: Engine, client: TestClient) -> None:
    store.apply(engine, [_node("a"), _node("b"), _node("c")])
    store.apply(engine, [_model("a", 1, drift_score=0.3), _model("b", 1, warning="on the CPU: no GPU here")])
    row = {"rule": "hot", "kind": "temperature", "fleet": "f", "device": "c", "model": "", "threshold": 80.0}
    row |= {"message": "hot", "since": 1.0, "fired_at": 2.0, "told": True}
    with engine.begin() as connection:
        connection.execute(insert(alerts), [{**row, "id": "1", "severity": "critical", "state": "firing"}])
    shown = {device["device"]: (device["condition"], device["reasons"]) for device in client.get("/api/devices").json()}
    assert shown == {
        "a": ("warning", ["toy drifts (0.30)"]),
        "b": ("warning", ["toy: on the CPU: no GPU here"]),
        "c": ("bad", ["alert hot"]),
    }
    assert client.get("/api/overview").json()["alerts_firing"] == 1
    assert client.get("/api/alerts", params={"state": "firing", "limit": 1}).headers["X-Total-Count"] == "1"


def test_a_device_that_is_silent_for_too_long_is_offline_whatever_the_broker_said(
    engine: Engine, client: TestClient
) -> None:
    now = time.time()
    for name, silent_s in (("a", 10.0), ("b", 100.0)):
        store.apply(engine, [NodeSeen("f", name, now - silent_s, True, {"keep_alive_s": 30.0})])
    assert _ids(client, online=True) == ["a"]
    assert client.get("/api/devices/f/b").json()["reasons"] == ["offline"]


def test_what_every_page_counts_adds_up_after_a_model_is_gone(engine: Engine, client: TestClient) -> None:
    store.apply(engine, [_node("a"), _node("b"), _model("a", 5), _model("b", 3), _model("b", 2, release="1.1.0-bb")])
    store.apply(engine, [_model("a", 7, model="gone"), ModelDied("f", "a", "gone", 61.0)])
    devices = client.get("/api/devices").json()
    fleet = client.get("/api/overview").json()
    for what, total in (("predictions", 17), ("errors", 4)):
        assert sum(model[what] for device in devices for model in device["models"]) == fleet[what] == total
        assert sum(model[what] for model in client.get("/api/models").json()) == total
    toy = client.get("/api/models/toy").json()
    for groups in ("releases", "by_target", "by_variant"):
        assert sum(group["predictions"] for group in toy[groups]) == toy["predictions"] == 10
    assert [(each["release"], each["devices"], each["predictions"]) for each in toy["releases"]] == [
        ("1.0.0-aa", 2, 8),
        ("1.1.0-bb", 1, 2),
    ]
    assert sum(each["count"] for each in client.get("/api/models/toy/histogram").json()) == 10
    assert sum(each["count"] for each in client.get("/api/devices/f/b/histogram", params={"model": "toy"}).json()) == 5
    points = client.get("/api/devices/f/b/latency", params={"model": "toy", "since": 0, "until": 120}).json()
    assert sum(point["predictions"] for point in points) == 5


def test_the_latest_log_lines_come_first_and_older_ones_on_the_next_page(engine: Engine, client: TestClient) -> None:
    lines = [("ERROR" if number % 2 else "WARNING", f"line {number}") for number in range(5)]
    store.apply(engine, [_node("a"), _logs("a", lines)])
    first = client.get("/api/devices/f/a/logs", params={"limit": 3}).json()
    rest = client.get("/api/devices/f/a/logs", params={"limit": 3, "before": first[-1]["id"]}).json()
    assert [line["text"] for line in first + rest] == [f"line {number}" for number in (4, 3, 2, 1, 0)]
    assert [line["text"] for line in client.get("/api/logs", params={"level": "ERROR"}).json()] == ["line 3", "line 1"]


def _logs(device: str, lines: list[tuple[str, str]]) -> LogsSeen:
    told = (LogLine(60.0 + number, level, "x", text) for number, (level, text) in enumerate(lines))
    return LogsSeen("f", device, tuple(told))


def test_every_error_has_one_shape(local: TestClient) -> None:
    for method, path, status, detail in (
        ("GET", "/api/devices/f/none", 404, "No device 'f/none' has reported yet; GET /api/devices lists those that"),
        ("GET", "/api/devices/none", 404, "No device 'none' has reported yet; GET /api/devices lists those that have."),
        ("GET", "/api/models/none", 404, "No device has reported a model 'none' yet."),
        ("GET", "/api/requests/none", 404, "There is no request 'none'; GET /api/requests lists them."),
        ("GET", "/api/devices?limit=0", 422, "limit: Input should be greater than or equal to 1."),
        ("GET", "/api/devices?sort=size", 422, "sort: Input should be 'id', 'worst'"),
        ("POST", "/api/requests", 422, "device_id: Field required; command: Field required."),
        ("DELETE", "/api/silences/none", 400, "No silence 'none' holds now"),
        ("PUT", "/api/devices", 405, "Method Not Allowed"),
        ("GET", "/nowhere", 404, "Not Found"),
    ):
        answer = local.request(method, path)
        assert answer.status_code == status, path
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert sorted(problem) == ["detail", "status", "title", "type"]
        assert problem["status"] == status
        assert problem["detail"].startswith(detail)


def test_a_store_that_fails_is_said_in_that_shape_too(tmp_path: Path) -> None:
    engine = database.open_engine(f"sqlite:///{tmp_path / 'monitor.db'}")
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE devices")
    answer = TestClient(make_app(engine, {})).get("/api/devices")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "The monitor's store does not answer at this moment: try again."


def test_openapi_describes_every_route_and_its_errors(local: TestClient) -> None:
    document = local.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            assert route.get("summary"), f"{method} {path}"
    assert "Problem" in document["components"]["schemas"]
    assert local.get("/docs").status_code == 404, "that page would load scripts from elsewhere"


@given(st.lists(st.tuples(st.integers(0, 3), latencies), max_size=12))
def test_histograms_merged_at_once_are_those_merged_one_by_one(parts) -> None:
    expected = [Histogram() for _ in range(4)]
    for group, latencies_ns in parts:
        expected[group] = expected[group].merge(Histogram.of(latencies_ns))
    packed = [Histogram.of(latencies_ns).encode() for _, latencies_ns in parts]
    assert counting.merge([group for group, _ in parts], packed, 4) == expected
