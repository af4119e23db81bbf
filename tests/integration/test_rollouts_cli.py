"""The commands about rollouts, against REST over HTTP, with devices played in the store."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import typer
import uvicorn
from click.testing import Result
from fastapi import FastAPI
from typer.testing import CliRunner

from edgeward.cli import rollouts
from edgeward.monitor import database
from edgeward.monitor.api import problems
from edgeward.monitor.rollouts import acting, groups
from edgeward.monitor.rollouts.routes import router
from edgeward_runtimes.errors import MonitorError
from tests.conftest import wait_for
from tests.rollout_devices import NEW, OLD, Devices

Fleet = Callable[..., Result]
QUICK = ("--stages", "25%,100%", "--soak", "0s", "--gate", "p95=1.1,errors=1%", "--samples", "100")


@pytest.fixture
def devices(tmp_path) -> Devices:
    engine = database.open_engine(f"sqlite:///{tmp_path / 'monitor.db'}")
    devices = Devices(engine, 4)
    groups.set_group(engine, "all", ["f/*"], "kim")
    return devices


@pytest.fixture
def fleet(devices: Devices) -> Iterator[Fleet]:
    """`edgeward fleet …` with a monitor that answers."""
    app, commands = FastAPI(), typer.Typer()
    problems.handle(app)
    app.include_router(router(devices.engine))
    rollouts.register(commands)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        wait_for(lambda: server.started, "the server")
        try:
            yield lambda *words: CliRunner().invoke(commands, [*words], env={"EDGEWARD_MONITOR": url})
        finally:
            server.should_exit = server.force_exit = True
            thread.join()


@contextmanager
def _rolling(devices: Devices) -> Iterator[None]:
    """The process's rounds, and devices that obey, on another thread."""
    stopping = threading.Event()

    def work() -> None:
        while not stopping.wait(0.01):
            acting.act(devices.engine)
            devices.obey()
            devices.predict()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def test_a_pipeline_waits_for_a_good_release_and_goes_on(devices: Devices, fleet: Fleet) -> None:
    with _rolling(devices):
        done = fleet("rollout", "toy", "1.1.0", "--group", "all", *QUICK, "--wait", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rollout"]["state"] == "done"
    assert set(devices.releases.values()) == {NEW}


def test_a_pipeline_ends_with_3_when_the_release_was_taken_back(devices: Devices, fleet: Fleet) -> None:
    devices.latency_ms[NEW] = 3.0
    with _rolling(devices):
        failed = fleet("rollout", "toy", "1.1.0", "--group", "all", *QUICK, "--wait")
    assert failed.exit_code == rollouts.ROLLED_BACK
    assert "toy 1.1.0 to all: failed, 0 of 4 devices: p95 is" in failed.stdout
    assert set(devices.releases.values()) == {OLD}


def test_a_rollout_is_listed_shown_paused_resumed_and_aborted(devices: Devices, fleet: Fleet) -> None:
    begun = json.loads(fleet("rollout", "toy", "1.1.0", "--group", "all", "--json").stdout)
    rollout_id = begun["rollout"]["id"]
    assert "stage 1 of 3, 0 of 4 devices" in fleet("rollouts").stdout
    assert json.loads(fleet("rollouts", "--json").stdout)["rollouts"][0]["id"] == rollout_id
    assert "paused" in fleet("pause", rollout_id).stdout
    assert "running" in fleet("resume", rollout_id).stdout
    assert "rolling back" in fleet("abort", rollout_id).stdout
    acting.act(devices.engine)
    assert "aborted, 0 of 4 devices: aborted by local" in fleet("rollouts", rollout_id).stdout


def test_groups_are_made_listed_and_told_what_to_run(fleet: Fleet) -> None:
    assert fleet("group", "set", "few", "f/d1", "f/d2").stdout == "few: f/d1 f/d2\n  f/d1\n  f/d2\n"
    assert fleet("group", "desire", "few", "toy", "1.1.0").stdout == "few should run toy 1.1.0.\n"
    listed = fleet("group", "list").stdout
    assert "f/d1 f/d2" in listed
    assert "toy 1.1.0" in listed
    assert json.loads(fleet("group", "show", "few", "--json").stdout)["devices"] == ["f/d1", "f/d2"]
    assert fleet("group", "desire", "few", "toy").stdout == "few should run toy as it is.\n"


def test_what_the_monitor_refuses_is_said_in_its_words(fleet: Fleet) -> None:
    refused = fleet("rollout", "toy", "1.1.0", "--group", "none")
    assert isinstance(refused.exception, MonitorError)
    assert "There is no group 'none'. Make it with" in str(refused.exception)


def test_a_monitor_that_is_not_there_is_named(fleet: Fleet, free_port: Callable[[], int]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    refused = fleet("rollouts", "--monitor", url)
    assert isinstance(refused.exception, MonitorError)
    assert f"The monitor at {url} does not answer" in str(refused.exception)
