"""What the pages show, before a browser draws it: rows that add up, links that work, lines without gaps."""

from pathlib import Path

from edgeward.monitor import queries, store
from edgeward.monitor.dashboard import charts, fleet
from edgeward.monitor.host import ModelDied, ModelSeen, NodeSeen
from edgeward.monitor.queries import HealthMinute, LatencyMinute
from edgeward_runtimes.latency.counters import Counters
from edgeward_runtimes.latency.histogram import Histogram


def _seen(model: str, release: str | None, count: int) -> ModelSeen:
    totals = (Counters("r", "e", 1, Histogram.of([1_000_000] * count)),) if count else ()
    return ModelSeen("f", "a?b %#", model, 60.0, {"release": release, "variant": "v"}, totals)


def test_the_fleet_pages_rows_add_up_to_its_totals_after_a_model_is_gone(tmp_path: Path) -> None:
    engine = store.open_engine(f"sqlite:///{tmp_path / 'monitor.db'}")
    seen = [
        _seen("installed", "r", 5),
        _seen("counted", None, 3),
        _seen("removed", "r", 2),
        _seen("never used", "r", 0),
    ]
    died = [ModelDied("f", "a?b %#", name, 61.0) for name in ("removed", "never used")]
    store.apply(engine, [NodeSeen("f", "a?b %#", 60.0, True, {}), *seen, *died])
    [device] = queries.devices(engine)
    rows = {row["model"]: row for row in fleet._rows(device)}
    assert {name: row["release"] for name, row in rows.items()} == {
        "installed": "r",
        "counted": "not installed",
        "removed": "not installed",
    }
    totals = queries.model_totals(engine)
    assert sum(row["predictions"] for row in rows.values()) == sum(total[2] for total in totals) == 10
    assert sum(row["errors"] for row in rows.values()) == sum(total[3] for total in totals) == 3


def test_a_device_of_any_name_is_linked(tmp_path: Path) -> None:
    engine = store.open_engine(f"sqlite:///{tmp_path / 'monitor.db'}")
    store.apply(engine, [NodeSeen("f", "a?b %#", 60.0, True, {})])
    [row] = fleet._rows(queries.devices(engine)[0])
    assert row["link"] == "/devices/f/a%3Fb%20%25%23"


def test_a_minute_without_a_value_does_not_break_a_line() -> None:
    health = [
        HealthMinute(60, 1.0, 50.0, None),
        HealthMinute(120, 2.0, None, None),
        HealthMinute(180, None, 52.0, None),
    ]
    cpu, memory = charts.health_over_time(health)["series"]
    assert cpu["data"] == [[60_000, 1.0], [120_000, 2.0]]
    assert memory["data"] == [[60_000, 50.0], [180_000, 52.0]]
    latency = [LatencyMinute(60, 1, 0, 1.0, 1.0, 1.0), LatencyMinute(120, 0, 1, None, None, None)]
    assert [line["data"] for line in charts.latency_over_time(latency)["series"]] == [[[60_000, 1.0]]] * 3
