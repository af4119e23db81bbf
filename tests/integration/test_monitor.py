"""The monitor with real agents and brokers: totals are exact whatever dies, and everything shows them alike."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edgeward.monitor.process import MonitorProcess
from edgeward_runtimes.home import Home
from edgeward_runtimes.latency.recorder import Recorder
from tests.conftest import wait_for

Start = Callable[[str, str], "subprocess.Popen[bytes]"]


@pytest.fixture
def start_agent(tmp_path: Path) -> Iterator[Start]:
    """Start the agent of the device in `tmp_path/NAME`."""
    agents = []

    def start(name: str, broker: str) -> "subprocess.Popen[bytes]":
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        config = folder / "agent.toml"
        config.write_text(f'fleet="f"\ndevice="{name}"\nbroker="{broker}"\ninterval_s=0.2\nkeep_alive_s=2\n')
        environment = {**os.environ, **Home.under(folder).environment}
        command = [sys.executable, "-m", "edgeward_runtimes", "agent", "--config", str(config)]
        agents.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))
        return agents[-1]

    yield start
    for agent in agents:
        agent.kill()
        agent.wait()


def _count(tmp_path: Path, name: str, predictions: int) -> None:
    recorder = Recorder("toy", "1.0.0-abc", Home.under(tmp_path / name).latency)
    for _ in range(predictions):
        recorder.success(2_000_000)
    recorder.failure()
    recorder.close()


def _shown(monitor: MonitorProcess) -> dict[str, tuple[bool, int]]:
    devices = httpx.get(f"{monitor.url}/api/devices").json()
    return {each["id"]: (each["online"], sum(m["predictions"] for m in each["models"])) for each in devices}


def _await(monitor: MonitorProcess, expected: dict[str, tuple[bool, int]]) -> None:
    wait_for(lambda: _shown(monitor) == expected, f"{expected} at the monitor")


@pytest.mark.parametrize("broker_kind", ["embedded", "mosquitto"])
def test_totals_are_exact_over_crashes_of_agent_broker_and_monitor(
    broker_kind: str, tmp_path: Path, start_agent: Start, request: pytest.FixtureRequest
) -> None:
    url = None if broker_kind == "embedded" else f"mqtt://127.0.0.1:{request.getfixturevalue('mosquitto')}"
    with MonitorProcess(tmp_path / "monitor", broker_url=url) as monitor:
        agents = {name: start_agent(name, monitor.broker_url) for name in ("a", "b")}
        _count(tmp_path, "a", 100)
        _count(tmp_path, "b", 10)
        _await(monitor, {"f/a": (True, 100), "f/b": (True, 10)})
        agents["a"].kill()
        _await(monitor, {"f/a": (False, 100), "f/b": (True, 10)})
        _count(tmp_path, "a", 5)
        start_agent("a", monitor.broker_url)
        _await(monitor, {"f/a": (True, 105), "f/b": (True, 10)})
        if broker_kind == "embedded":
            _kill_broker(monitor)
        _count(tmp_path, "a", 2)
        _await(monitor, {"f/a": (True, 107), "f/b": (True, 10)})
        monitor.kill()
        _count(tmp_path, "b", 7)
        monitor.start()
        _await(monitor, {"f/a": (True, 107), "f/b": (True, 17)})
        fleet = httpx.get(f"{monitor.url}/api/models/toy").json()
        assert (fleet["predictions"], fleet["errors"], fleet["devices"]) == (124, 5, ["f/a", "f/b"])
        assert fleet["p99_ms"] == pytest.approx(2.0, rel=0.03)
        model = httpx.get(f"{monitor.url}/api/devices/f/a").json()["models"][0]
        assert (model["release"], model["installed"]) == (None, False)
        assert httpx.get(f"{monitor.url}/api/devices/f/z").status_code == 404
        assert httpx.get(f"{monitor.url}/api/models/none").status_code == 404
        _check_prometheus(httpx.get(f"{monitor.url}/metrics").text)


def _kill_broker(monitor: MonitorProcess) -> None:
    assert monitor._process is not None
    family = psutil.Process(monitor._process.pid).children()
    [broker] = [each for each in family if "edgeward.monitor.broker" in each.cmdline()]
    broker.kill()


def _check_prometheus(page: str) -> None:
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    assert samples["edgeward_predictions_total", "f/a", "toy"] == 107
    assert samples["edgeward_latency_seconds_count", "f/b", "toy"] == 17
    assert samples["edgeward_latency_seconds_bucket", "+Inf", "f/b", "toy"] == 17
    assert samples["edgeward_latency_seconds_bucket", "0.00390625", "f/b", "toy"] == 17
    assert samples["edgeward_latency_seconds_bucket", "0.001953125", "f/b", "toy"] == 0
    assert samples["edgeward_dropped_messages_total",] == 0
