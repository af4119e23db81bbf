"""Forwarded log lines: warnings and above, one line each, and never more than the bucket holds."""

import logging
from collections.abc import Iterator

import pytest

from edgeward_runtimes.agent.logs import BURST, EVERY_S, Forwarder


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def forwarder(now: list[float]) -> Iterator[Forwarder]:
    made = Forwarder(lambda: now[0])
    logger = logging.getLogger("edgeward.test.logs")
    logger.addHandler(made)
    yield made
    logger.removeHandler(made)


def _texts(forwarder: Forwarder) -> list[str]:
    return [line.text for line in forwarder.take()]


def test_warnings_and_above_are_forwarded_as_one_line_each(forwarder: Forwarder) -> None:
    log = logging.getLogger("edgeward.test.logs")
    log.info("not this")
    log.warning("disk %s\n  is\tfull\0", "/")
    try:
        raise ValueError("secret")
    except ValueError:
        log.exception("it broke")
    assert _texts(forwarder) == [
        "WARNING edgeward.test.logs: disk / is full",
        "ERROR edgeward.test.logs: it broke",
    ]
    assert _texts(forwarder) == []


def test_a_loop_of_errors_is_cut_and_counted(forwarder: Forwarder, now: list[float]) -> None:
    log = logging.getLogger("edgeward.test.logs")
    for number in range(1_000):
        log.error("again %s", number)
    assert len(forwarder.take()) == BURST
    assert forwarder.dropped == 1_000 - BURST
    now[0] += 3 * EVERY_S
    for _ in range(10):
        log.error("later")
    assert len(forwarder.take()) == 3
    assert forwarder.dropped == 1_000 - BURST + 7


def test_lines_that_nobody_takes_are_bounded_and_the_newest_stay(forwarder: Forwarder, now: list[float]) -> None:
    log = logging.getLogger("edgeward.test.logs")
    for number in range(3 * BURST):
        now[0] += EVERY_S
        log.error("%s", number)
    texts = _texts(forwarder)
    assert len(texts) == BURST
    assert texts[-1].endswith(str(3 * BURST - 1))
    assert forwarder.dropped == 2 * BURST


def test_a_very_long_line_is_cut_and_a_wrong_format_does_no_harm(forwarder: Forwarder) -> None:
    for message, arguments in (("x" * 10_000, None), ("%d", ("no number",))):
        record = {"name": "edgeward.test.logs", "levelno": logging.ERROR, "levelname": "ERROR"}
        forwarder.handle(logging.makeLogRecord({**record, "msg": message, "args": arguments}))
    cut, wrong = _texts(forwarder)
    assert len(cut) == 400
    assert wrong == "ERROR edgeward.test.logs: %d"
