"""The agent and its primary host over a real Mosquitto: nothing is told while it is offline, and everything after.

Names in brackets are the specification's assertion ids (Sparkplug 3.0, chapters 5 and 6).
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeward_runtimes.agent.config import AgentConfig
from edgeward_runtimes.home import Home
from edgeward_runtimes.sparkplug import metrics
from tests.agents import WITHIN_S, Host, broker, running, say_state
from tests.conftest import wait_for


@pytest.fixture
def port(free_port: Callable[[], int], tmp_path: Path) -> Iterator[int]:
    port = free_port()
    with broker(port, tmp_path):
        yield port


@pytest.fixture
def host(port: int) -> Iterator[Host]:
    host = Host(port)
    yield host
    host.close()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.under(tmp_path / "device")


def _config(port: int, **more: object) -> AgentConfig:
    settings = {"interval_s": 0.2, "wait_for_host": True, "host_id": "scada", **more}
    return AgentConfig(fleet="f", device="d", broker=f"mqtt://127.0.0.1:{port}", **settings)


def _is_connected(home: Home) -> bool:
    return (home.root / "bdseq").exists()


def test_nothing_is_born_before_the_configured_host_says_online(port: int, host: Host, home: Home) -> None:
    # [tck-id-message-flow-edge-node-birth-publish-phid-wait, -phid-wait-id, -phid-wait-online,
    #  tck-id-operational-behavior-edge-node-birth-sequence-wait]
    say_state(port, online=True, timestamp=5, host_id="another")
    say_state(port, online=False, timestamp=5, host_id="scada")
    with running(_config(port), home):
        wait_for(lambda: _is_connected(home), "a connection", WITHIN_S)
        say_state(port, online=True, timestamp=4, host_id="scada")  # older: the will of a host that has been replaced
        host.ask_for_rebirth()
        time.sleep(1.0)
        assert host.heard == []
        say_state(port, online=True, timestamp=5, host_id="scada")
        assert host.next().kind == "NBIRTH"


def test_a_host_that_is_online_already_is_found_by_its_retained_state(port: int, host: Host, home: Home) -> None:
    say_state(port, online=True, timestamp=5, host_id="scada")
    with running(_config(port), home):
        assert host.next().kind == "NBIRTH"


def test_an_offline_host_is_answered_with_a_death_a_new_connection_and_silence(
    port: int, host: Host, home: Home
) -> None:
    # [tck-id-message-flow-edge-node-birth-publish-phid-offline, tck-id-payloads-ndeath-will-message-publisher,
    #  tck-id-operational-behavior-edge-node-termination-host-offline, -termination-host-offline-reconnect,
    #  -termination-host-offline-timestamp, -edge-node-intentional-disconnect-ndeath]
    say_state(port, online=True, timestamp=5, host_id="scada")
    with running(_config(port), home):
        birth = host.next("NBIRTH")
        say_state(port, online=False, timestamp=4, host_id="scada")  # too old to count
        host.next("NDATA")
        host.next("NDATA")
        say_state(port, online=False, timestamp=5, host_id="scada")
        death = host.next("NDEATH")
        assert (death.qos, death.retained) == (1, False)
        assert [metric.value for metric in death.payload.metrics] == [birth.values[metrics.BDSEQ]]
        silent_since = len(host.heard)
        wait_for(lambda: (home.root / "bdseq").read_text() != str(birth.values[metrics.BDSEQ]), "another", WITHIN_S)
        time.sleep(1.0)
        assert len(host.heard) == silent_since
        say_state(port, online=True, timestamp=6, host_id="scada")
        again = host.next()
        assert (again.kind, again.payload.seq) == ("NBIRTH", 0)
        assert again.values[metrics.BDSEQ] == int(str(birth.values[metrics.BDSEQ])) + 1
        silence = lambda: [m.timestamp for name, m in host.named() if m.is_historical]  # noqa: E731
        wait_for(silence, "what was read meanwhile", WITHIN_S)
    assert min(silence()) > (death.payload.timestamp or 0) - 5_000


def test_rebirths_are_answered_at_once_but_not_more_often_than_once_a_second(port: int, host: Host, home: Home) -> None:
    # [tck-id-operational-behavior-data-commands-rebirth-action-1 … -3]
    with running(_config(port, wait_for_host=False), home):
        host.ask_for_rebirth()
        host.next("NBIRTH")
        time.sleep(1.2)
        start, asked = len(host.heard), time.monotonic()
        for _ in range(50):
            host.ask_for_rebirth()
        wait_for(lambda: _births(host, start) >= 2, "two births", WITHIN_S)
        took = time.monotonic() - asked
        time.sleep(1.5)
        assert _births(host, start) == 2, "the first at once, one for all the others"
        assert took > 0.8
        # Between the second request, which came at once, and its birth no data are told: of five reports, perhaps one.
        kinds = [message.kind for message in host.heard[start:]]
        first = kinds.index("NBIRTH")
        second = kinds.index("NBIRTH", first + 1)
        assert kinds[first + 1 : second].count("NDATA") <= 1


def _births(host: Host, start: int) -> int:
    return [message.kind for message in host.heard[start:]].count("NBIRTH")


def test_every_connect_carries_the_bd_seq_after_the_last_whatever_attempts_failed_between(
    free_port: Callable[[], int], tmp_path: Path, home: Home
) -> None:
    # [tck-id-message-flow-edge-node-birth-publish-will-message-payload-bdSeq, -nbirth-payload-bdSeq,
    #  tck-id-payloads-nbirth-bdseq-repeat]
    port, seen = free_port(), []
    with running(_config(port, wait_for_host=False), home):
        time.sleep(2.5)  # attempts that fail
        for _ in range(3):
            with broker(port, tmp_path):
                host = Host(port)
                host.ask_for_rebirth()
                seen.append(host.next("NBIRTH").values[metrics.BDSEQ])
                host.close()
    assert seen == [0, 1, 2]
