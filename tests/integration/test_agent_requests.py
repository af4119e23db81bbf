"""Requests against a real Mosquitto: each is done once, answered in parts, and nothing else can be asked for."""

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeward_runtimes import npz
from edgeward_runtimes.agent import obeying
from edgeward_runtimes.agent.config import AgentConfig
from edgeward_runtimes.agent.obeying import Obeyer, Reply
from edgeward_runtimes.agent.service import Agent
from edgeward_runtimes.home import Home
from edgeward_runtimes.install import installer
from edgeward_runtimes.observation import settings
from edgeward_runtimes.observation.capture import Ring, Sample, pack
from edgeward_runtimes.observation.settings import Capture
from edgeward_runtimes.sparkplug import metrics, requests
from edgeward_runtimes.sparkplug.codec import DataType, Metric
from edgeward_runtimes.sparkplug.requests import LARGEST_PART, Answer, Request
from tests.agents import WITHIN_S, Host
from tests.conftest import wait_for

Ask = Callable[..., list[Answer]]


class Asking(Host):
    """A host that asks, and puts answers together."""

    def answers(self, request_id: str) -> list[Answer]:
        told = [requests.decode_answer(metric.value) for name, metric in self.named() if name == metrics.ANSWER]
        return [answer for answer in told if answer.id == request_id]

    def ask(self, request_id: str, command: str, **arguments: Any) -> list[Answer]:
        """All parts of the answer."""
        before = len(self.answers(request_id))
        content = requests.encode(Request(request_id, command, arguments))
        self.command(Metric(name=metrics.REQUEST, datatype=DataType.BYTES, value=content))
        wait_for(
            lambda: len(found := self.answers(request_id)[before:]) and len(found) == found[0].parts, command, WITHIN_S
        )
        return self.answers(request_id)[before:]


@pytest.fixture
def done() -> list[dict[str, Any]]:
    """The arguments of every time that `work` was done."""
    return []


@pytest.fixture
def asking(mosquitto: int, home: Home, done: list[dict[str, Any]]) -> Iterator[Asking]:
    """A host, and an agent that can be asked to `work` as well."""

    def work(given: dict[str, Any]) -> Reply:
        done.append(given)
        return Reply("worked", b"x" * given.get("size", 0))

    home.root.mkdir(parents=True, exist_ok=True)
    config = AgentConfig(fleet="f", device="d", broker=f"mqtt://127.0.0.1:{mosquitto}", interval_s=0.2, keep_alive_s=2)
    agent = Agent(config, home, {"work": work})
    host = Asking(mosquitto)
    thread = threading.Thread(target=agent.run)
    thread.start()
    host.next("NBIRTH")
    yield host
    agent.stop()
    thread.join(WITHIN_S)
    host.close()
    assert not thread.is_alive()


def test_a_request_is_done_once_and_answered_as_often_as_it_is_asked(
    asking: Asking, done: list[dict[str, Any]]
) -> None:
    for _ in range(3):
        assert asking.ask("1", "work", size=3) == [Answer("1", True, "worked", 0, 1, b"xxx")]
    assert done == [{"size": 3}]


def test_a_long_answer_comes_in_parts(asking: Asking) -> None:
    parts = asking.ask("1", "work", size=9 * LARGEST_PART + 1)
    assert [(answer.part, answer.parts) for answer in parts] == [(part, 10) for part in range(10)]
    assert sum(len(answer.content) for answer in parts) == 9 * LARGEST_PART + 1


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        (
            "run",
            {"program": "/bin/sh"},
            "This device does capture, collect_logs, install, reset_observations, rollback, work",
        ),
        ("collect_logs", {"lines": 0}, "The arguments of collect_logs are wrong"),
        ("collect_logs", {"file": "/etc/shadow"}, "contains unknown field `file`"),
        ("capture", {"name": "../../etc"}, "The arguments of capture are wrong"),
        ("rollback", {"name": "absent"}, "No model 'absent' is installed"),
    ],
)
def test_what_cannot_be_done_is_said(asking: Asking, command: str, arguments: dict[str, Any], said: str) -> None:
    (answer,) = asking.ask("1", command, **arguments)
    assert not answer.ok
    assert said in answer.message


def test_garbage_is_no_request_and_ends_nothing(asking: Asking, done: list[dict[str, Any]]) -> None:
    for value in (b"", b"\xc1", b"\x93\x01\x02\x03"):
        asking.command(Metric(name=metrics.REQUEST, datatype=DataType.BYTES, value=value))
    asking.command(Metric(name=metrics.REQUEST, datatype=DataType.STRING, value="work"))
    assert asking.ask("1", "work")[0].ok
    assert done == [{}]


def test_logs_are_collected(asking: Asking) -> None:
    for number in range(3):
        logging.getLogger("edgeward.test").warning("line %d", number)
    (answer,) = asking.ask("1", "collect_logs", lines=2)
    assert [line.split(" WARNING ")[1] for line in answer.content.decode().splitlines()] == [
        "edgeward.test: line 1",
        "edgeward.test: line 2",
    ]


def test_a_model_is_rolled_back(asking: Asking, home: Home, multiply_bundle: Callable[..., Path]) -> None:
    first = installer.install(home, multiply_bundle("1.0.0")).release
    installer.install(home, multiply_bundle("1.1.0"))
    (answer,) = asking.ask("1", "rollback", name="toy", to="0.9.0-01234567")
    assert "the release before 1.1.0" in answer.message
    for request_id in ("2", "3"):  # to a release by name, it is the same as often as it is asked
        (answer,) = asking.ask(request_id, "rollback", name="toy", to=first)
        assert (answer.ok, first in answer.message) == (True, True)
        assert (home.models / "toy" / "current").readlink().name == first


def test_an_install_that_is_refused_says_why(asking: Asking) -> None:
    (answer,) = asking.ask("1", "install", name="toy", version="1.0.0")
    assert not answer.ok
    assert "Traceback" not in answer.message
    assert len(answer.message) > 20


def test_captured_samples_come_when_they_are_asked_for_and_never_unasked(
    asking: Asking, home: Home, multiply_bundle: Callable[..., Path]
) -> None:
    installer.install(home, multiply_bundle())
    secret = np.frombuffer(b"never leaves unasked", np.uint8)
    ring = Ring(settings.captured(home.root, "toy"), Capture())
    for number in range(3):
        label = None if number else 7
        ring.keep(Sample(1000 + number, "r", "uncertain", 0.5, {"x": pack(secret)}, {"y": pack(secret)}, label))
    told = len(asking.heard)
    wait_for(lambda: len(asking.heard) > told + 5, "reports", WITHIN_S)
    assert not any(
        isinstance(metric.value, bytes) and bytes(secret) in metric.value
        for message in asking.heard
        for metric in message.payload.metrics
    )
    ring.keep(Sample(2000, "r", "sampled", None, {"x": pack(secret[:3])}, {"y": pack(secret)}))
    (answer,) = asking.ask("1", "capture", name="toy")
    assert answer.message == "3 samples of toy; 1 of other shapes are left out"
    arrays = npz.decode(answer.content)
    assert arrays["inputs/x"].tobytes() == bytes(secret) * 3
    assert arrays["y"].tolist() == [7, -1, -1]
    assert arrays["time"].tolist() == [1000, 1001, 1002]
    assert arrays["reason"].tolist() == ["uncertain"] * 3
    assert asking.ask("2", "capture", name="toy", action="on", settings={"rate": 0.5})[0].ok
    assert settings.read(home.root, "toy").capture == Capture(rate=0.5)
    assert asking.ask("3", "capture", name="toy", action="clear")[0].message.startswith("toy is captured; 0 samples")
    assert not asking.ask("4", "capture", name="toy")[0].ok


def _obeyer(folder: Path, work: obeying.Handler) -> tuple[Obeyer, threading.Event]:
    woken = threading.Event()
    return Obeyer(folder, {"work": work}, woken.set), woken


def test_what_a_restart_cut_off_is_answered_and_not_begun_again(tmp_path: Path) -> None:
    begun, never = threading.Event(), threading.Event()

    def work(given: dict[str, Any]) -> Reply:
        begun.set()
        never.wait(WITHIN_S)
        return Reply("worked")

    cut_off, _ = _obeyer(tmp_path, work)
    cut_off.take(Request("1", "work"))
    assert begun.wait(WITHIN_S)
    begun.clear()
    after, woken = _obeyer(tmp_path, work)
    after.take(Request("1", "work"))
    assert woken.wait(WITHIN_S)
    answer = after.next_part()
    assert answer is not None
    assert not answer.ok
    assert "it is not begun again" in answer.message
    assert not begun.is_set()
    never.set()
    cut_off.close()


def test_only_so_much_is_remembered(tmp_path: Path) -> None:
    obeyer, _ = _obeyer(tmp_path, lambda given: Reply("worked", b"content"))
    for number in range(120):
        obeyer.take(Request(str(number), "work"))
        wait_for(obeyer.next_part, "an answer", WITHIN_S)
    obeyer.close()
    assert len(list(tmp_path.glob("*.content"))) == 4
    assert len(Obeyer(tmp_path, {}, lambda: None)._known) == 100
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_what_had_not_arrived_is_told_again_after_the_connection_is_lost(tmp_path: Path) -> None:
    obeyer, woken = _obeyer(tmp_path, lambda given: Reply("worked", b"x" * 2 * LARGEST_PART))
    obeyer.take(Request("1", "work"))
    assert woken.wait(WITHIN_S)
    for lost in (True, True, False):
        parts = [obeyer.next_part(), obeyer.next_part()]
        assert [part.part for part in parts if part] == [0, 1]
        if lost:
            obeyer.tell_again()
    obeyer.arrived()
    obeyer.tell_again()
    assert obeyer.next_part() is None
    obeyer.close()
