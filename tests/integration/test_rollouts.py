"""Rollouts in a real store, with devices played at the level of requests; and what people see of them."""

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from edgeward.monitor import database
from edgeward.monitor.access import audit
from edgeward.monitor.rollouts import acting, desired, groups, operating, queries
from edgeward.monitor.rollouts.routes import router
from edgeward.monitor.rollouts.state import Terms
from edgeward.monitor.rollouts.terms import Gates
from edgeward_runtimes.errors import ConfigError, MonitorError
from tests.rollout_devices import NEW, OLD, Devices

TERMS = Terms(model="toy", version="1.1.0", group="all", soak_s=0.0, gates=Gates(p95=1.1, errors=0.01), samples=100)


@pytest.fixture
def devices(store_url: str) -> Devices:
    """Twenty devices of one group."""
    engine = database.open_engine(store_url)
    devices = Devices(engine, 20)
    groups.set_group(engine, "all", ["f/*"], "kim")
    return devices


def _run(
    devices: Devices, rollout_id: str, until: Callable[[queries.Summary], bool], rounds: int = 40
) -> queries.Summary:
    """Rounds of the process, in which all devices obey and predict."""
    for _ in range(rounds):
        acting.act(devices.engine)
        devices.obey()
        devices.predict()
        summary = queries.detail(devices.engine, rollout_id).rollout
        if until(summary):
            return summary
    pytest.fail(f"not within {rounds} rounds: {summary}")


def _ends(summary: queries.Summary) -> bool:
    return summary.state in ("done", "failed", "aborted")


def test_a_good_release_reaches_all_and_is_then_what_the_group_should_run(devices: Devices) -> None:
    rollout_id = operating.start(devices.engine, TERMS, "kim")
    found = _run(devices, rollout_id, _ends)
    assert (found.state, found.progress, found.reason) == ("done", {"installed": 20}, "every device runs it")
    assert set(devices.releases.values()) == {NEW}
    assert len(devices.asked()) == 20
    with devices.engine.connect() as connection:
        (wanted,) = desired.all_desired(connection)
    assert (wanted.group, wanted.model, wanted.version, wanted.set_by) == ("all", "toy", "1.1.0", "kim")
    told = [(each.who, each.action, each.detail) for each in reversed(audit.deeds(devices.engine, subject=rollout_id))]
    assert told == [
        ("kim", "rollout.start", "toy 1.1.0 to the 20 devices of all"),
        ("edgeward", "rollout.running", "stage 1 of 3 passed"),
        ("edgeward", "rollout.running", "stage 2 of 3 passed"),
        ("edgeward", "rollout.done", "done: every device runs it"),
    ]


@pytest.mark.parametrize(
    ("what", "reason"),
    [("slow", "p95 is 2.04 ms, 2.00 of the old"), ("failing", "10.00%"), ("wrong", "toy does not work")],
)
def test_a_bad_release_ends_with_the_canary_which_goes_back(devices: Devices, what: str, reason: str) -> None:
    devices.latency_ms[NEW] = 2.0 if what == "slow" else 1.0
    devices.failing[NEW] = 10 if what == "failing" else 0
    devices.refusal = "toy does not work on this device." if what == "wrong" else None
    found = _run(devices, operating.start(devices.engine, TERMS, "kim"), _ends)
    assert found.state == "failed"
    assert reason in found.reason
    assert set(devices.releases.values()) == {OLD}
    assert len({device for device, _, _ in devices.asked()}) == 1
    with devices.engine.connect() as connection:
        assert desired.all_desired(connection) == []


def test_only_what_was_counted_since_the_install_is_judged(devices: Devices) -> None:
    """The new release ran here before, and was slow then."""
    devices.latency_ms[NEW] = 9.0
    first = _run(devices, operating.start(devices.engine, TERMS, "kim"), _ends)
    assert first.state == "failed"
    devices.latency_ms[NEW] = 1.0
    second = operating.start(devices.engine, TERMS, "kim")
    assert _run(devices, second, _ends).state == "done"
    judged = queries.detail(devices.engine, second).judged
    assert judged.new_p95_ms == pytest.approx(judged.old_p95_ms)


def test_a_process_that_died_at_any_step_is_followed_by_one_that_asks_nothing_twice(devices: Devices) -> None:
    """Every write fails once, after everything before it in its transaction was done."""
    rollout_id = operating.start(devices.engine, TERMS, "kim")
    for round_ in range(60):
        if round_ % 2:
            _die(devices.engine)
        acting.act(devices.engine)
        devices.obey()
        devices.predict()
    found = queries.detail(devices.engine, rollout_id)
    assert found.rollout.state == "done"
    assert len(devices.asked()) == 20
    assert {each.attempts for each in found.members} == {1}


def _die(engine: Engine) -> None:
    """Act, with the process dying at the last moment before its work is committed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit, "record", _killed)
        patch.setattr(acting.records, "remember_counted", _killed)
        with contextlib.suppress(KeyboardInterrupt):
            acting.act(engine)


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_processes_that_act_at_the_same_time_ask_nothing_twice(devices: Devices) -> None:
    """A lock keeps them apart; should it fail, whoever writes second finds that it is too late."""
    rollout_id = operating.start(devices.engine, TERMS, "kim")
    with ThreadPoolExecutor(3) as pool:
        for _ in range(12):
            for acted in [pool.submit(acting.act, devices.engine) for _ in range(3)]:
                acted.result()
            devices.obey()
            devices.predict()
    assert queries.detail(devices.engine, rollout_id).rollout.state == "done"
    assert len(devices.asked()) == 20
    assert [each.detail for each in audit.deeds(devices.engine, subject=rollout_id)].count("stage 1 of 3 passed") == 1


def test_two_rollouts_of_a_model_are_never_on_one_device(devices: Devices) -> None:
    groups.set_group(devices.engine, "some", ["f/d1*"], "kim")
    first = operating.start(devices.engine, TERMS, "kim")
    other = Terms(model="toy", version="1.2.0", group="some")
    with pytest.raises(
        MonitorError, match=rf"Rollout {first} of toy is running on f/d1\d?: wait for its end, or abort"
    ):
        operating.start(devices.engine, other, "kim")
    operating.start(devices.engine, Terms(model="eyes", version="1.2.0", group="some"), "kim")
    operating.abort(devices.engine, first, "kim")
    _run(devices, first, _ends)
    operating.start(devices.engine, other, "kim")


def test_a_later_rollout_takes_over_what_an_ended_one_left_behind(devices: Devices) -> None:
    one_stage = Terms(model="toy", version="1.1.0", group="all", stages=(1.0,), soak_s=3600.0, gates=Gates())
    rollout_id = operating.start(devices.engine, one_stage, "kim")
    _run(devices, rollout_id, lambda each: each.reason == "the soak")
    devices.set_online("f/d3", False)
    operating.abort(devices.engine, rollout_id, "kim")
    assert _run(devices, rollout_id, _ends).progress == {"returned": 19, "returning": 1}
    operating.start(devices.engine, Terms(model="toy", version="1.2.0", group="all"), "kim")
    assert queries.detail(devices.engine, rollout_id).rollout.progress == {"returned": 20}


def test_a_group_that_is_unknown_or_empty_is_refused(devices: Devices) -> None:
    with pytest.raises(MonitorError, match="There is no group 'none'"):
        operating.start(devices.engine, Terms(model="toy", version="1", group="none"), "kim")
    groups.set_group(devices.engine, "empty", ["g/*"], "kim")
    with pytest.raises(MonitorError, match="No device of the group 'empty' has reported yet"):
        operating.start(devices.engine, Terms(model="toy", version="1", group="empty"), "kim")
    with pytest.raises(ConfigError, match="not a model's name"):
        operating.start(devices.engine, Terms(model="../toy", version="1", group="all"), "kim")


def test_a_replaced_device_gets_what_its_group_should_run(devices: Devices) -> None:
    desired.set_desired(devices.engine, "all", "toy", "1.1.0", None, "kim")
    devices.replace("f/d7")
    devices.set_online("f/d8", False)
    acting.reconcile(devices.engine)
    devices.obey()
    assert devices.releases["f/d7"] == NEW
    assert devices.releases["f/d8"] == OLD
    devices.set_online("f/d8", True)
    acting.reconcile(devices.engine)
    devices.obey()
    assert set(devices.releases.values()) == {NEW}
    acting.reconcile(devices.engine)
    assert len(devices.asked()) == 20, "who runs it is left alone"


def test_desired_state_keeps_out_of_a_rollouts_way_and_asks_the_stubborn_more_rarely(devices: Devices) -> None:
    groups.set_group(devices.engine, "one", ["f/d0"], "kim")
    rollout_id = operating.start(devices.engine, Terms(model="toy", version="1.1.0", group="one", gates=Gates()), "kim")
    desired.set_desired(devices.engine, "one", "toy", "1.2.0", None, "kim")
    acting.reconcile(devices.engine)
    assert devices.asked() == []
    operating.abort(devices.engine, rollout_id, "kim")
    acting.act(devices.engine)
    devices.refusal = "InstallError: no room"
    for _ in range(5):
        acting.reconcile(devices.engine)
        devices.obey()
    assert [command for _, command, _ in devices.asked()] == ["install"], "a minute has not passed"


def test_a_device_of_two_groups_runs_what_was_set_last(devices: Devices) -> None:
    groups.set_group(devices.engine, "one", ["f/d0"], "kim")
    desired.set_desired(devices.engine, "one", "toy", "1.1.0", None, "kim")
    desired.set_desired(devices.engine, "all", "toy", "1.0.0", None, "kim")
    acting.reconcile(devices.engine)
    assert devices.asked() == []
    desired.set_desired(devices.engine, "all", "toy", None, None, "kim")
    acting.reconcile(devices.engine)
    assert [device for device, _, _ in devices.asked()] == ["f/d0"]


@pytest.fixture
def rest(devices: Devices) -> httpx.Client:
    """REST over the devices' store, without a guard."""
    from edgeward.monitor.api import problems

    app = FastAPI()
    problems.handle(app)
    app.include_router(router(devices.engine))
    return TestClient(app, raise_server_exceptions=False)


def test_rest_begins_shows_pauses_resumes_and_aborts(devices: Devices, rest: httpx.Client) -> None:
    begun = rest.post("/api/rollouts", json={"name": "toy", "version": "1.1.0", "group": "all", "soak": "1h"})
    assert begun.status_code == 201
    rollout_id = begun.json()["rollout"]["id"]
    assert [each["id"] for each in rest.get("/api/rollouts", params={"state": "running"}).json()] == [rollout_id]
    assert rest.post(f"/api/rollouts/{rollout_id}/pause").json()["rollout"]["state"] == "paused"
    refused = rest.post(f"/api/rollouts/{rollout_id}/pause")
    assert refused.status_code == 400
    assert "is paused and cannot be paused" in refused.json()["detail"]
    assert rest.post(f"/api/rollouts/{rollout_id}/resume").json()["rollout"]["state"] == "running"
    assert rest.post(f"/api/rollouts/{rollout_id}/abort").json()["rollout"]["state"] == "rolling_back"
    acting.act(devices.engine)
    found = rest.get(f"/api/rollouts/{rollout_id}").json()
    assert found["rollout"]["state"] == "aborted"
    assert [each["action"] for each in found["history"]][-4:] == [
        "rollout.abort",
        "rollout.resume",
        "rollout.pause",
        "rollout.start",
    ]


def test_rest_says_what_is_wrong_with_a_rollout(rest: httpx.Client) -> None:
    for wrong, sentence in (
        ({"stages": "5%,50%"}, "must rise and end with 100%"),
        ({"soak": "soon"}, "'soon' is not a duration"),
        ({"gate": "p99=1.1"}, "Gate 'p99=1.1' is not one of"),
        ({"samples": 0}, "1 sample or more"),
        ({"group": "none"}, "There is no group 'none'"),
    ):
        refused = rest.post("/api/rollouts", json={"name": "toy", "version": "1.1.0", "group": "all", **wrong})
        assert refused.status_code == 400
        assert sentence in refused.json()["detail"]


def test_rest_keeps_groups_and_what_they_should_run(rest: httpx.Client) -> None:
    assert rest.put("/api/groups/few", json={"patterns": ["f/d1", "f/d2"]}).json()["devices"] == ["f/d1", "f/d2"]
    assert [each["name"] for each in rest.get("/api/groups").json()] == ["all", "few"]
    assert rest.get("/api/groups/few").json()["patterns"] == ["f/d1", "f/d2"]
    assert rest.put("/api/desired/few/toy", json={"version": "1.1.0"}).json()[0]["version"] == "1.1.0"
    assert rest.delete("/api/desired/few/toy").json() == []
    assert rest.get("/api/rollouts/nope").status_code in (400, 404)
