"""Requests, on SQLite and PostgreSQL: one thing at a time and in order, asked again until answered, answered once."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from edgeward.monitor import requests, store
from edgeward.monitor.database import open_engine
from edgeward.monitor.updates import AnswerSeen, NodeDied, NodeSeen
from edgeward_runtimes.errors import ConfigError
from edgeward_runtimes.sparkplug.requests import Answer


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    engine = open_engine(store_url)
    store.apply(engine, [NodeSeen("f", name, 1.0, True, {}) for name in ("d", "e")])
    yield engine
    engine.dispose()


def _due(engine: Engine, later_s: float = 0.0) -> list[tuple[str, str]]:
    now = requests.time.time() + later_s
    due = requests.due(engine, now, 100)
    requests.sent(engine, [request.id for _, request in due], now)
    return [(device, request.command) for device, request in due]


def _answer(engine: Engine, number: str, device: str = "d", **answer: object) -> None:
    told = Answer(**{"id": number, "ok": True, "message": "done", **answer})  # type: ignore[arg-type]
    store.apply(engine, [AnswerSeen("f", device, 5.0, told)])


def test_a_device_is_asked_one_thing_at_a_time_in_the_order_of_asking(engine: Engine) -> None:
    first = requests.ask(engine, "f/d", "install", {"name": "m"}, "ann")
    second = requests.ask(engine, "f/d", "rollback", {}, "ann")
    requests.ask(engine, "f/e", "collect_logs", {}, "bob")
    assert _due(engine) == [("f/d", "install"), ("f/e", "collect_logs")]
    assert _due(engine) == [], "not again at once"
    assert _due(engine, 11.0)[0] == ("f/d", "install"), "again after a while"
    _answer(engine, first)
    assert _due(engine) == [("f/d", "rollback")]
    _answer(engine, second, ok=False, message="no such release")
    found = requests.result(engine, second)
    assert found is not None
    assert (found.answered_at, found.ok, found.message, found.asked_by) == (5.0, False, "no such release", "ann")
    assert [each.command for each in requests.results(engine, "f/d")] == ["rollback", "install"]


def test_a_device_that_is_offline_is_asked_when_it_is_back(engine: Engine) -> None:
    store.apply(engine, [NodeDied("f", "d")])
    requests.ask(engine, "f/d", "capture", {}, "ann")
    assert _due(engine) == []
    store.apply(engine, [NodeSeen("f", "d", 2.0, True, {})])
    assert _due(engine) == [("f/d", "capture")]


def test_the_same_request_asked_again_is_one(engine: Engine) -> None:
    for _ in range(2):
        assert requests.ask(engine, "f/d", "install", {"n": 1}, "rollout", id="r-1") == "r-1"
    assert len(requests.results(engine)) == 1
    _answer(engine, "r-1")
    requests.ask(engine, "f/d", "install", {"n": 1}, "rollout", id="r-1")
    assert _due(engine) == []


def test_content_comes_in_parts_in_any_order_and_more_than_once(engine: Engine) -> None:
    number = requests.ask(engine, "f/d", "capture", {}, "ann")
    parts = [b"one ", b"two ", b""]
    for part in (2, 0, 0):
        _answer(engine, number, part=part, parts=3, content=parts[part])
        assert requests.content(engine, number) is None
    found = requests.result(engine, number)
    assert found is not None
    assert (found.answered_at, found.parts, found.parts_here) == (None, 3, 2)
    assert _due(engine, -requests.time.time() + 6.0) == [], "it is answering"
    _answer(engine, number, part=1, parts=3, content=parts[1])
    assert requests.content(engine, number) == b"one two "
    _answer(engine, number, ok=False, message="again")
    assert requests.result(engine, number).ok, "the first answer counts"  # type: ignore[union-attr]


def test_no_device_answers_for_another(engine: Engine) -> None:
    number = requests.ask(engine, "f/d", "collect_logs", {}, "ann")
    _answer(engine, number, device="e", content=b"forged")
    found = requests.result(engine, number)
    assert found is not None
    assert (found.answered_at, found.parts_here) == (None, 0)


def test_what_is_taken_back_or_expires_is_answered_by_us_and_makes_room(engine: Engine) -> None:
    first = requests.ask(engine, "f/d", "install", {}, "ann")
    second = requests.ask(engine, "f/d", "capture", {}, "ann", expires_after_s=5.0)
    third = requests.ask(engine, "f/d", "rollback", {}, "ann")
    requests.cancel(engine, first)
    assert requests.result(engine, first).message == "cancelled"  # type: ignore[union-attr]
    assert _due(engine, 6.0) == [("f/d", "rollback")]
    requests.tidy(engine, requests.time.time() + 6.0)
    assert "expired" in str(requests.result(engine, second).message)  # type: ignore[union-attr]
    _answer(engine, first)
    assert not requests.result(engine, first).ok  # type: ignore[union-attr]
    _answer(engine, third, content=b"x")
    requests.tidy(engine, 5.0 + 8 * 86_400)
    assert requests.content(engine, third) == b"", "contents are kept for a week"
    requests.tidy(engine, requests.time.time() + 100 * 86_400)
    assert requests.results(engine) == []


def test_a_request_that_cannot_be_said_is_refused(engine: Engine) -> None:
    for command, arguments, number in (("x" * 65, {}, None), ("x", {}, "i" * 65), ("x", {"at": object()}, None)):
        with pytest.raises(ConfigError):
            requests.ask(engine, "f/d", command, arguments, "ann", id=number)
