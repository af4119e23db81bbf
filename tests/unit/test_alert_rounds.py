"""Evaluation over a store, SQLite and PostgreSQL: what fires, what is told, and how often."""

import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, insert, select, update

from edgeward.monitor import schema
from edgeward.monitor.alerts import outbox, queries, rules, silences
from edgeward.monitor.alerts.channels import Mqtt
from edgeward.monitor.alerts.outbox import Word
from edgeward.monitor.alerts.rounds import Rounds
from edgeward.monitor.alerts.rules import (
    LINK,
    P95,
    AlertConfig,
    Disk,
    Drift,
    ErrorRate,
    Offline,
    Seconds,
    StormConfig,
    Temperature,
    Throttling,
)
from edgeward.monitor.alerts.seeing import Link
from edgeward.monitor.alerts.tables import notifications
from edgeward.monitor.database import open_engine, writing
from edgeward.monitor.schema import DAY, MINUTE
from edgeward_runtimes.latency.histogram import Histogram

START = 1_800_000_000.0  # a whole minute
THERE = Link(None, START - 10_000)
GONE = Link("the broker cannot be reached", START)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite store: a copy is made faster than another."""
    path = tmp_path_factory.mktemp("template") / "monitor.db"
    open_engine(f"sqlite:///{path}").dispose()
    return path


@pytest.fixture
def engine(request: pytest.FixtureRequest, template: Path, tmp_path: Path) -> Iterable[Engine]:
    """An empty store: SQLite, or where a test asks for it each kind in turn."""
    if "store_url" in request.fixturenames:
        url = request.getfixturevalue("store_url")
    else:
        url = f"sqlite:///{shutil.copy(template, tmp_path / 'monitor.db')}"
    engine = open_engine(url)
    yield engine
    engine.dispose()


BOTH = pytest.mark.usefixtures("store_url")


def _config(*alert: rules.AnyRule, group: float = 0, **others: Any) -> AlertConfig:
    return AlertConfig(alert=alert, mqtt={"all": Mqtt()}, group=Seconds(group), **others)


def _devices(engine: Engine, count: int, fleet: str = "f", **values: object) -> None:
    row = {"online": True, "last_seen": START + 1e6, "interval_s": 10.0, "keep_alive_s": 30.0, **values}
    with writing(engine) as connection:
        rows = [{"id": f"{fleet}/d{n}", "fleet": fleet, "device": f"d{n}", **row} for n in range(count)]
        connection.execute(insert(schema.devices), rows)


def _set(engine: Engine, device: str | None = None, **values: object) -> None:
    statement = update(schema.devices).values(**values)
    with writing(engine) as connection:
        connection.execute(statement if device is None else statement.where(schema.devices.c.device == device))


def _states(engine: Engine) -> dict[tuple[str, str | None, str | None], str]:
    return {(each.rule, each.device, each.model): each.state for each in queries.alerts(engine, limit=10_000)}


def _words(engine: Engine) -> list[Word]:
    """Everything written for delivery so far, in order."""
    with engine.connect() as connection:
        bodies = connection.execute(select(notifications.c.body).order_by(notifications.c.due_at)).scalars().all()
    return [outbox._read(body) for body in bodies]


def _told(engine: Engine) -> list[tuple[str, int, int]]:
    return [(word.rule, word.firing, word.resolved) for word in _words(engine)]


def _run(rounds: Rounds, *moments: float, link: Link = THERE) -> None:
    for moment in moments:
        rounds.run(START + moment, link)


@BOTH
def test_a_hot_device_is_told_once_and_again_when_it_is_cool(engine: Engine) -> None:
    _devices(engine, 3)
    rounds = Rounds(engine, _config(Temperature(for_=Seconds(60), resolve_after=Seconds(30))))
    _set(engine, "d1", temperature_c=85.0)
    _run(rounds, 0, 55)
    assert (_states(engine), _told(engine)) == ({("temperature", "d1", None): "pending"}, [])
    _run(rounds, 60, 65)
    _set(engine, "d1", temperature_c=77.0)  # between the levels
    _run(rounds, 70, 200)
    assert _states(engine) == {("temperature", "d1", None): "firing"}
    _set(engine, "d1", temperature_c=60.0)
    _run(rounds, 205, 230)
    assert _told(engine) == [("temperature", 1, 0)]
    _run(rounds, 235, 240)
    assert _states(engine) == {("temperature", "d1", None): "resolved"}
    assert _told(engine) == [("temperature", 1, 0), ("temperature", 0, 1)]
    assert _words(engine)[0].alerts[0].message == "85.0 °C (limit 80 °C)"


def test_what_is_over_before_its_time_is_forgotten(engine: Engine) -> None:
    _devices(engine, 1, temperature_c=85.0)
    rounds = Rounds(engine, _config(Temperature(for_=Seconds(60))))
    _run(rounds, 0)
    _set(engine, temperature_c=50.0)
    _run(rounds, 30)
    assert _states(engine) == {}


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        (Temperature(), {"temperature_c": 81.0}),
        (Disk(), {"disk_used_percent": 95.0}),
        (Throttling(), {"throttled": 1.0}),
    ],
)
def test_every_rule_on_a_device(engine: Engine, rule: rules.AnyRule, values: dict[str, float]) -> None:
    _devices(engine, 2)
    _set(engine, "d0", **values)
    _run(Rounds(engine, _config(rule)), 0, 60)
    assert _states(engine) == {(rule.kind, "d0", None): "firing"}


def test_a_drifted_model_fires_while_it_is_installed(engine: Engine) -> None:
    _devices(engine, 1)
    row = {"device_id": "f/d0", "installed": True}
    with writing(engine) as connection:
        connection.execute(insert(schema.models), [{**row, "model": "m", "drift_score": 0.4}])
        connection.execute(insert(schema.models), [{**row, "model": "good", "drift_score": 0.1}])
    rounds = Rounds(engine, _config(Drift()))
    _run(rounds, 0, 60)
    assert _states(engine) == {("drift", "d0", "m"): "firing"}
    with writing(engine) as connection:
        connection.execute(update(schema.models).values(installed=False))
    _run(rounds, 65, 125)
    assert _states(engine) == {("drift", "d0", "m"): "resolved"}


def _latency(engine: Engine, resolution: int, start: float, model: str, ms: float, count: int, errors: int = 0) -> None:
    row = {"start": int(start), "device_id": "f/d0", "model": model, "release": "r", "predictions": count}
    histogram = Histogram.of([int(ms * 1e6)] * count).encode()
    with writing(engine) as connection:
        connection.execute(insert(schema.latency[resolution]).values(**row, errors=errors, histogram=histogram))


@BOTH
def test_errors_count_by_their_share_of_the_calls_in_the_window(engine: Engine) -> None:
    _devices(engine, 1)
    for minute in (-2, -1):
        _latency(engine, MINUTE, START + 60 * minute, "failing", 1, 90, errors=10)
        _latency(engine, MINUTE, START + 60 * minute, "good", 1, 990, errors=10)
        _latency(engine, MINUTE, START + 60 * minute, "few calls", 1, 10, errors=10)
    _latency(engine, MINUTE, START - 3600, "was failing", 1, 10, errors=1000)
    _run(Rounds(engine, _config(ErrorRate(for_=Seconds(0)))), 0)
    [alert] = queries.alerts(engine)
    assert (alert.model, alert.state, alert.message) == ("failing", "firing", "10.0% of calls fail (limit 5.0%)")


@BOTH
def test_p95_is_held_against_the_same_models_own_past(engine: Engine) -> None:
    _devices(engine, 1)
    day = START // DAY * DAY - DAY
    for model, before, now in (("slower", 10.0, 20.0), ("slow", 20.0, 20.0), ("faster", 20.0, 10.0)):
        _latency(engine, DAY, day, model, before, 200)
        _latency(engine, MINUTE, START - 60, model, now, 200)
    _latency(engine, MINUTE, START - 60, "new", 1000.0, 200)
    _run(Rounds(engine, _config(P95(for_=Seconds(0)))), 0)
    [alert] = queries.alerts(engine)
    assert alert.model == "slower"
    assert alert.value == pytest.approx(2.0, rel=0.05)


def test_what_a_device_said_before_it_went_stays_said(engine: Engine) -> None:
    _devices(engine, 10)
    _set(engine, "d0", temperature_c=85.0)
    rounds = Rounds(engine, _config(Temperature(), Offline()))
    _run(rounds, 0, 60)
    _set(engine, "d0", online=False)
    _run(rounds, 65, 125, 1000)
    assert _states(engine) == {("temperature", "d0", None): "firing", ("offline", "d0", None): "firing"}


def test_silence_is_noticed_without_a_word_of_the_broker(engine: Engine) -> None:
    _devices(engine, 2, last_seen=START)
    _set(engine, "d1", keep_alive_s=600.0)
    _run(Rounds(engine, _config(Offline())), 44, 46, 106)
    assert _states(engine) == {("offline", "d0", None): "firing"}


@pytest.mark.parametrize("at_once", [True, False])
def test_many_devices_gone_are_one_alert(engine: Engine, at_once: bool) -> None:
    _devices(engine, 50)
    _devices(engine, 50, fleet="other")
    rounds = Rounds(engine, _config(Offline()))
    for number in range(40):  # by and by, within the rule's patience
        with writing(engine) as connection:
            where = (schema.devices.c.id == f"f/d{number}",)
            connection.execute(update(schema.devices).where(*where).values(online=False))
        if not at_once:
            _run(rounds, number)
    _run(rounds, 45, 100, 105, 110, 500)
    firing = [alert for alert in queries.alerts(engine) if alert.state == "firing"]
    assert [(alert.fleet, alert.device, alert.message) for alert in firing] == [("f", None, "40 of 50 devices offline")]
    assert _told(engine) == [("offline", 1, 0)]
    with writing(engine) as connection:
        here = schema.devices.c.device != "d7"
        connection.execute(update(schema.devices).where(here).values(online=True))
    _run(rounds, 505, 510)
    assert {key: state for key, state in _states(engine).items() if state != "resolved"} == {
        ("offline", "d7", None): "firing"
    }
    assert _told(engine) == [("offline", 1, 0), ("offline", 1, 1)]


def test_a_broker_that_dies_is_one_alert_and_devices_have_time_to_return(engine: Engine) -> None:
    _devices(engine, 100, last_seen=START)
    rounds = Rounds(engine, _config(Offline(), storm=StormConfig(settle=Seconds(120))))
    _run(rounds, 0)
    _run(rounds, 5, 20, 100, 600, link=GONE)
    assert _states(engine) == {(LINK, None, None): "firing"}
    back = Link(None, START + 605)
    _run(rounds, 605, 700, link=back)
    _set(engine, last_seen=START + 710)
    _run(rounds, 720, 730, link=back)
    assert _states(engine) == {(LINK, None, None): "resolved"}
    assert _told(engine) == [(LINK, 1, 0), (LINK, 0, 1)]


def test_after_settling_those_that_did_not_return_are_told(engine: Engine) -> None:
    _devices(engine, 100, last_seen=START)
    rounds = Rounds(engine, _config(Offline(for_=Seconds(10))))
    _run(rounds, 600, link=GONE)
    back = Link(None, START + 605)
    _set(engine, last_seen=START + 1e6)
    _set(engine, "d3", last_seen=START)
    _run(rounds, 606, 724, link=back)
    assert _states(engine) == {}
    _run(rounds, 725, 735, link=back)
    assert _states(engine) == {("offline", "d3", None): "firing"}


def test_a_silence_keeps_word_back_until_it_ends(engine: Engine) -> None:
    now = time.time()
    _devices(engine, 2, last_seen=now + 1e6, temperature_c=90.0)
    held = silences.silence(engine, "f/d0", for_s=3600, reason="we know", created_by="me")
    rounds = Rounds(engine, _config(Temperature(for_=Seconds(0))))
    rounds.run(now, THERE)
    assert [told.device for word in _words(engine) for told in word.alerts] == ["d1"]
    assert {alert.device: alert.silenced for alert in queries.alerts(engine)} == {"d0": True, "d1": False}
    silences.end(engine, held)
    rounds.run(now + 10, THERE)
    rounds.run(now + 15, THERE)
    assert [told.device for word in _words(engine) for told in word.alerts] == ["d1", "d0"]


def test_word_of_one_rule_is_gathered_while_the_last_is_fresh(engine: Engine) -> None:
    _devices(engine, 120)
    rounds = Rounds(engine, _config(Temperature(for_=Seconds(0)), group=60))
    for number in range(60):
        _set(engine, f"d{number}", temperature_c=90.0)
        _run(rounds, number)
    assert _told(engine) == [("temperature", 1, 0), ("temperature", 59, 0)]
    first, gathered = _words(engine)
    assert (len(first.alerts), len(gathered.alerts), first.id != gathered.id) == (1, outbox.LISTED, True)


def test_another_process_goes_on_where_one_was_killed(engine: Engine) -> None:
    _devices(engine, 1, temperature_c=90.0)
    config = _config(Temperature())
    _run(Rounds(engine, config), 0)
    _run(Rounds(engine, config), 60)
    _run(Rounds(engine, config), 65)
    assert _told(engine) == [("temperature", 1, 0)]


def test_an_alert_of_a_rule_that_is_no_more_is_resolved(engine: Engine) -> None:
    _devices(engine, 1, temperature_c=90.0)
    _run(Rounds(engine, _config(Temperature(for_=Seconds(0)))), 0)
    _run(Rounds(engine, _config(Disk())), 5)
    assert _states(engine) == {("temperature", "d0", None): "resolved"}


def test_a_device_that_was_deleted_has_no_alerts(engine: Engine) -> None:
    _devices(engine, 1, temperature_c=90.0)
    rounds = Rounds(engine, _config(Temperature(for_=Seconds(0), resolve_after=Seconds(0))))
    _run(rounds, 0)
    with writing(engine) as connection:
        connection.execute(delete(schema.devices))
    _run(rounds, 5)
    assert _states(engine) == {("temperature", "d0", None): "resolved"}


def test_a_rule_is_about_its_own_scope(engine: Engine) -> None:
    _devices(engine, 2, temperature_c=90.0)
    _devices(engine, 2, fleet="other", temperature_c=90.0)
    rule = Temperature(for_=Seconds(0), fleets=("f",), devices=("*1",))
    _run(Rounds(engine, _config(rule)), 0)
    assert [(alert.fleet, alert.device) for alert in queries.alerts(engine)] == [("f", "d1")]


@BOTH
def test_a_delivery_that_fails_is_tried_again_with_the_same_id_and_one_that_arrived_is_not(engine: Engine) -> None:
    with writing(engine) as connection:
        outbox.put(connection, "all", Word("id", "r", "disk", "info", 1, 0, ()), START, 60)
    first = outbox.take(engine, "all", START)
    assert first is not None
    assert outbox.take(engine, "all", START + 1) is None  # it is being delivered
    assert not outbox.failed(engine, first, "away", START + 1)
    second = outbox.take(engine, "all", START + 5)
    assert second is not None
    assert (second.word, second.attempt) == (first.word, 2)
    assert outbox.take(engine, "all", START + 14) is None
    third = outbox.take(engine, "all", START + 15)  # whoever took the second died
    assert third is not None
    outbox.delivered(engine, third, START + 16)
    assert outbox.take(engine, "all", START + 10**6) is None
    assert queries.notifications(engine)[0].sent_at == START + 16


def test_a_delivery_is_given_up_after_a_day(engine: Engine) -> None:
    with writing(engine) as connection:
        outbox.put(connection, "all", Word("id", "r", "disk", "info", 1, 0, ()), START, 60)
    now, attempts, over = START, 0, False
    while not over:
        due = outbox.take(engine, "all", now)
        assert due is not None
        attempts += 1
        over = outbox.failed(engine, due, "away", now)
        now = queries.notifications(engine)[0].try_at
    assert 30 <= attempts <= 40
    assert outbox.take(engine, "all", now) is None


def test_word_for_a_channel_that_is_no_more_is_given_up(engine: Engine) -> None:
    with writing(engine) as connection:
        for channel in ("old", "all"):
            outbox.put(connection, channel, Word(channel, "r", "disk", "info", 1, 0, ()), START, 60)
    outbox.abandon(engine, ["all"], START)
    assert {each.channel: each.gave_up_at for each in queries.notifications(engine)} == {"old": START, "all": None}


def test_a_storm_over_a_fleet_that_was_deleted_is_over(engine: Engine) -> None:
    _devices(engine, 10, online=False)
    rounds = Rounds(engine, _config(Offline()))
    _run(rounds, 0, 60)
    with writing(engine) as connection:
        connection.execute(delete(schema.devices))
    _run(rounds, 65)
    assert _states(engine) == {("offline", None, None): "resolved"}


def test_a_clock_that_was_set_back_delays_nothing(engine: Engine) -> None:
    _devices(engine, 10)
    _set(engine, "d0", online=False)
    rounds = Rounds(engine, _config(Offline()))
    _run(rounds, 0, -3600, -3540, link=Link(None, START - 10))
    assert _states(engine) == {("offline", "d0", None): "firing"}


def test_a_notification_that_is_due_is_never_added_to(engine: Engine) -> None:
    def put(at: float, name: str) -> None:
        with writing(engine) as connection:
            outbox.put(connection, "all", Word(name, "r", "disk", "info", 1, 0, ()), at, 60)

    put(START, "1")
    put(START + 10, "2")  # due at 60
    put(START + 59, "3")  # gathered
    put(START + 61, "4")  # due at 120, although nobody has delivered the second yet
    assert [(word.id, word.firing) for word in _words(engine)] == [("1", 1), ("2", 2), ("4", 1)]


def test_what_is_long_over_is_deleted(engine: Engine) -> None:
    _devices(engine, 1, temperature_c=90.0)
    rounds = Rounds(engine, _config(Temperature(for_=Seconds(0), resolve_after=Seconds(0))))
    _run(rounds, 0)
    _set(engine, temperature_c=20.0)
    _run(rounds, 5)
    while due := outbox.take(engine, "all", START + 10):
        outbox.delivered(engine, due, START + 10)
    rounds.prune(START + 100 * 86_400)
    assert (_states(engine), _told(engine)) == ({}, [])


@BOTH
def test_ten_thousand_devices_are_looked_at_in_well_under_a_second(engine: Engine) -> None:
    _devices(engine, 10_000)
    with writing(engine) as connection:
        connection.execute(
            insert(schema.models),
            [{"device_id": f"f/d{n}", "model": "m", "installed": True, "drift_score": 0.1} for n in range(10_000)],
        )
    _set(engine, "d17", temperature_c=90.0)
    rounds = Rounds(engine, _config(*AlertConfig().alert))
    taken = []
    for moment in (0, 5, 10, 15, 20):
        begin = time.process_time()
        _run(rounds, moment)
        taken.append(time.process_time() - begin)
    assert min(taken) < 0.5
    assert _states(engine) == {("temperature", "d17", None): "pending"}
