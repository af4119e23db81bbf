"""The monitor's processes: what dies is started again, and nothing outlives a failed start or a dead parent."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from edgeward.monitor import broker
from edgeward.monitor import process as processes
from edgeward.monitor.config import BrokerConfig, MonitorConfig
from edgeward.monitor.process import MonitorProcess
from edgeward.monitor.service import _broker
from edgeward_runtimes.errors import MonitorError
from tests.conftest import wait_for

_START_AND_WAIT = """
import pathlib, sys, threading
from edgeward.monitor.process import MonitorProcess
with MonitorProcess(pathlib.Path(sys.argv[1])):
    print("up", flush=True)
    threading.Event().wait()
"""


def _child(parent: int, module: str) -> psutil.Process | None:
    family = psutil.Process(parent).children(recursive=True)
    return next((each for each in family if module in each.cmdline() and each.status() != psutil.STATUS_ZOMBIE), None)


@contextmanager
def _taken(port: int) -> Iterator[None]:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        yield


_PARTS = ("broker", "ingest", "upkeep", "alerts", "rollouts")


@pytest.mark.parametrize("module", ["edgeward.monitor.broker", "edgeward.monitor.alerts"])
def test_a_part_that_is_killed_shows_in_healthz_and_is_started_again(module: str, tmp_path: Path) -> None:
    def health() -> httpx.Response:
        return httpx.get(f"{monitor.url}/healthz")

    with MonitorProcess(tmp_path) as monitor:
        assert health().json() == {"status": "ok", "parts": dict.fromkeys(_PARTS, True)}
        assert monitor._process is not None
        part = _child(monitor._process.pid, module)
        assert part is not None
        part.kill()
        name = module.rpartition(".")[2]
        wait_for(lambda: (answer := health()).status_code == 503 and not answer.json()["parts"][name], f"a dead {name}")
        wait_for(lambda: health().is_success, f"a new {name}")
        assert _child(monitor._process.pid, module) != part


def test_another_program_on_the_dead_brokers_port_is_not_taken_for_it(tmp_path: Path) -> None:
    with MonitorProcess(tmp_path) as monitor:
        assert monitor._process is not None
        part = _child(monitor._process.pid, "edgeward.monitor.broker")
        assert part is not None
        part.kill()
        part.wait()
        with _taken(int(monitor.broker_url.rpartition(":")[2])):
            assert httpx.get(f"{monitor.url}/healthz").status_code == 503
        wait_for(lambda: httpx.get(f"{monitor.url}/healthz").is_success, "the broker on its port again")


@pytest.mark.parametrize("host", ["localhost", "[::1]", "127.0.0.1"])
def test_the_embedded_broker_listens_wherever_its_url_says(host: str, free_port: Callable[[], int]) -> None:
    config = BrokerConfig(url=f"mqtt://{host}:{free_port()}")
    with _broker(config) as works:
        assert works()
    assert not broker.is_reachable(config.url)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_an_address_that_the_embedded_broker_cannot_have_is_named(host: str) -> None:
    with pytest.raises(MonitorError, match=f"cannot listen on {host}:1883: .* monitor.toml"):
        broker.check(MonitorConfig(broker=BrokerConfig(url=f"mqtt://{host}")).broker.url)


def test_a_monitor_that_does_not_answer_in_time_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_READY_WITHIN_S", 0.0)
    monitor = MonitorProcess(tmp_path)
    with pytest.raises(MonitorError, match="did not start"):
        monitor.start()
    assert monitor._process is not None
    assert monitor._process.returncode is not None


def test_a_monitor_is_stopped_when_its_start_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: MonitorProcess) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(MonitorProcess, "_answers", interrupt)
    monitor = MonitorProcess(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        monitor.start()
    assert monitor._process is not None
    assert monitor._process.returncode is not None


def test_a_monitor_ends_when_the_program_that_started_it_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _START_AND_WAIT, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"up\n"
        family = psutil.Process(program.pid).children(recursive=True)
        assert len(family) == 1 + len(_PARTS), "the monitor and its parts"
        program.kill()
    _, alive = psutil.wait_procs(family, timeout=15)
    assert not alive


def test_a_monitor_of_ones_own_does_not_mind_its_stdin(tmp_path: Path, free_port: Callable[[], int]) -> None:
    port = free_port()
    config = tmp_path / "monitor.toml"
    config.write_text(
        f'broker = {{url = "mqtt://127.0.0.1:{free_port()}"}}\nhttp = {{port = {port}}}\n'
        f'store = {{url = "sqlite:///{tmp_path / "monitor.db"}"}}\n'
    )
    command = [sys.executable, "-m", "edgeward", "monitor", "--config", str(config)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as monitor:
        try:
            assert monitor.stderr is not None
            assert any(line.startswith(b"dashboard: ") for line in monitor.stderr)
            wait_for(lambda: _answers(port), "the monitor to answer")
            assert monitor.poll() is None
        finally:
            monitor.terminate()


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz").is_success
    except httpx.HTTPError:
        return False
