"""Store and forward against a real Mosquitto: what was read while nobody listened comes later, with its own times.

Names in brackets are the specification's assertion ids (Sparkplug 3.0, chapters 5 and 6).
"""

import contextlib
import itertools
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeward_runtimes.agent.config import AgentConfig, SpoolConfig
from edgeward_runtimes.agent.spool import Spool
from edgeward_runtimes.home import Home
from edgeward_runtimes.sparkplug import metrics
from edgeward_runtimes.sparkplug.session import Reading
from tests.agents import WITHIN_S, Host, broker, embedded_broker, running, say_state
from tests.conftest import wait_for


@pytest.fixture
def port(free_port: Callable[[], int]) -> int:
    return free_port()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.under(tmp_path / "device")


def _config(port: int, **more: object) -> AgentConfig:
    settings = {"interval_s": 0.2, "keep_alive_s": 2, **more}
    return AgentConfig(fleet="f", device="d", broker=f"mqtt://127.0.0.1:{port}", **settings)


def _ask(home: Home, question: str) -> int:
    """A number from the agent's spool, read beside it without a word; -1 when there is none yet."""
    with contextlib.suppress(sqlite3.OperationalError):
        connection = sqlite3.connect(f"file:{home.root / 'spool.db'}?mode=ro", uri=True)
        try:
            return int(connection.execute(question).fetchone()[0])
        finally:
            connection.close()
    return -1


def _rows(home: Home) -> int:
    return _ask(home, "SELECT count(*) FROM readings")


def _dropped(home: Home) -> int:
    return _ask(home, "SELECT value FROM counts WHERE name = 'dropped'")


def _times(host: Host, name: str = "uptime_s", *, historical: bool) -> list[int]:
    return [
        metric.timestamp or 0 for told, metric in host.named() if told == name and metric.is_historical is historical
    ]


def test_what_was_read_without_a_broker_is_told_as_history_after_the_births(
    port: int, home: Home, tmp_path: Path
) -> None:
    # [tck-id-payloads-ndata-order, -ndata-seq-inc, -sequence-num-incrementing, -ndata-qos, -ndata-retain]
    with running(_config(port), home):
        wait_for(lambda: _rows(home) >= 5, "readings to be kept", WITHIN_S)
        before = time.time() * 1000
        with broker(port, tmp_path):
            host = Host(port)
            host.ask_for_rebirth()  # the birth may have come before the host did
            wait_for(lambda: _times(host, historical=True), "history", WITHIN_S)
            wait_for(lambda: _rows(home) == 0, "the spool to be empty", WITHIN_S)
            host.close()
    first = next(place for place, message in enumerate(host.heard) if message.kind == "NBIRTH")
    session = [message for message in host.heard[first:] if message.kind != "NDEATH"]
    assert [message.payload.seq for message in session] == [place % 256 for place in range(len(session))]
    assert {(message.qos, message.retained) for message in session} == {(0, False)}
    assert not any(metric.is_historical for metric in session[0].payload.metrics)
    times = _times(host, historical=True)
    assert times == sorted(times)
    assert times[0] < before


@pytest.mark.parametrize("kind", ["mosquitto", "embedded"])
def test_history_is_forgotten_when_the_broker_has_had_it(port: int, home: Home, tmp_path: Path, kind: str) -> None:
    home.root.mkdir(parents=True)
    spool = Spool(home.root / "spool.db", rows=1_000, size_bytes=10_000_000)
    for at in range(1, 61):
        spool.append(Reading(at * 1000, {"cpu_percent": float(at)}, {}))
    spool.close()
    with broker(port, tmp_path) if kind == "mosquitto" else embedded_broker(port):
        host = Host(port)
        with running(_config(port), home):
            wait_for(lambda: len(_times(host, "cpu_percent", historical=True)) >= 60, "all of the history", WITHIN_S)
            wait_for(lambda: _rows(home) == 0, "the spool to be empty", WITHIN_S)
        host.close()
    told = [metric.value for name, metric in host.named() if metric.is_historical and name == "cpu_percent"]
    assert told[:60] == [float(at) for at in range(1, 61)]
    assert _times(host, "cpu_percent", historical=True)[:3] == [1000, 2000, 3000]


def test_a_broker_that_dies_takes_no_reading_with_it(port: int, home: Home, tmp_path: Path) -> None:
    """Every reading of the whole time, live or as history, comes to a host at last."""
    times: set[int] = set()
    with running(_config(port, keep_alive_s=1, wait_for_host=True), home):
        with _listening(port, tmp_path, times) as (host, process):
            for _ in range(3):
                host.next("NDATA")
            # What is published from here on goes nowhere, until the agent notices.
            os.kill(process.pid, signal.SIGSTOP)
            sent = len(host.heard)
            wait_for(lambda: _rows(home) >= 3, "readings to be kept", WITHIN_S)
            assert len(host.heard) == sent
            process.kill()
        with _listening(port, tmp_path, times) as (host, _):
            wait_for(lambda: _rows(home) == 0, "the spool to be empty", WITHIN_S)
            host.next("NDATA")
    ordered = sorted(times)
    gaps = [later - earlier for earlier, later in itertools.pairwise(ordered)]
    assert max(gaps) < 1500, "a reading every 0.2 s, on a busy machine"


@contextlib.contextmanager
def _listening(port: int, folder: Path, times: set[int]) -> Iterator[tuple[Host, subprocess.Popen[bytes]]]:
    """A broker with the primary host; adds the times of what it heard."""
    with broker(port, folder) as process:
        host = Host(port)
        say_state(port, online=True, timestamp=1)
        host.next("NBIRTH")
        yield host, process
        host.close()
        times |= {metric.timestamp for heard in host.heard for metric in heard.payload.metrics if metric.timestamp}


def test_readings_survive_the_agents_kill_9(port: int, home: Home, tmp_path: Path) -> None:
    home.root.mkdir(parents=True)
    configuration = tmp_path / "agent.toml"
    configuration.write_text(f'fleet = "f"\ndevice = "d"\nbroker = "mqtt://127.0.0.1:{port}"\ninterval_s = 0.2\n')
    command = [sys.executable, "-m", "edgeward_runtimes.agent", "--config", str(configuration)]
    environment = {**os.environ, **home.environment}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as agent:
        wait_for(lambda: _rows(home) >= 3, "readings to be kept", WITHIN_S)
        agent.kill()
    spool = Spool(home.root / "spool.db", rows=1_000, size_bytes=10_000_000)
    kept = [reading.timestamp for _, reading in spool.oldest(1_000)]
    spool.close()
    with broker(port, tmp_path):
        host = Host(port)
        with running(_config(port), home):
            wait_for(lambda: set(_times(host, "cpu_percent", historical=True)), "history", WITHIN_S)
        host.close()
    assert kept[0] in {m.timestamp for message in host.heard for m in message.payload.metrics if m.is_historical}


def test_dropped_readings_are_counted_and_told(port: int, home: Home, tmp_path: Path) -> None:
    with running(_config(port, spool=SpoolConfig(rows=3)), home):
        wait_for(lambda: _dropped(home) >= 4, "drops", WITHIN_S)
        with broker(port, tmp_path):
            host = Host(port)
            host.ask_for_rebirth()  # the birth may have come before the host did
            birth = host.next("NBIRTH")
            host.close()
    assert int(str(birth.values["spool_dropped"])) >= 4


def test_the_host_may_be_away_while_the_broker_is_there(port: int, home: Home, tmp_path: Path) -> None:
    with broker(port, tmp_path), running(_config(port, wait_for_host=True), home):
        host = Host(port)
        wait_for(lambda: _rows(home) >= 4, "readings to be kept", WITHIN_S)
        assert host.heard == []
        say_state(port, online=True, timestamp=1)
        assert host.next().kind == "NBIRTH"
        wait_for(lambda: _times(host, historical=True), "history", WITHIN_S)
        host.close()


def test_log_lines_travel_as_an_event_and_wait_for_a_broker_too(port: int, home: Home, tmp_path: Path) -> None:
    with running(_config(port), home):
        wait_for(lambda: _rows(home) >= 1, "readings to be kept", WITHIN_S)
        logging.getLogger("edgeward.test").warning("kept while there is %s", "no broker")
        rows = _rows(home)
        wait_for(lambda: _rows(home) > rows + 1, "the line to be kept", WITHIN_S)
        with broker(port, tmp_path):
            host = Host(port)
            host.ask_for_rebirth()
            birth = host.next("NBIRTH")
            assert birth.values[metrics.LOGS] is None
            logging.getLogger("edgeward.test").error("told\nlive")
            lines = lambda: [(m.value, m.is_historical) for name, m in host.named() if name == metrics.LOGS]  # noqa: E731
            wait_for(lambda: ("ERROR edgeward.test: told live", False) in lines(), "the live line", WITHIN_S)
            wait_for(
                lambda: ("WARNING edgeward.test: kept while there is no broker", True) in lines(), "the other", WITHIN_S
            )
            host.close()
