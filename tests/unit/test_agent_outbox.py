"""Readings on their way: one is forgotten only when the broker has acknowledged something that was sent after it."""

from pathlib import Path

import pytest

from edgeward_runtimes.agent.outbox import BATCH, Outbox
from edgeward_runtimes.agent.spool import Spool
from edgeward_runtimes.sparkplug.session import Reading


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool.db", rows=1_000, size_bytes=1_000_000)


def _reading(at: int) -> Reading:
    return Reading(at, {"cpu_percent": 1.0}, {})


def _kept(spool: Spool) -> list[int]:
    return [reading.timestamp for _, reading in spool.oldest(1_000)]


def test_a_live_reading_is_forgotten_when_a_later_request_is_acknowledged(spool: Spool) -> None:
    arrived: list[Reading] = []
    outbox = Outbox(spool, arrived.append)
    outbox.told(_reading(1))
    outbox.fenced(7)
    outbox.told(_reading(2))
    assert not outbox.acknowledged(6), "another request's"
    assert outbox.acknowledged(7)
    assert [reading.timestamp for reading in arrived] == [1]
    outbox.lost()
    assert _kept(spool) == [2]


def test_what_was_not_acknowledged_becomes_history(spool: Spool) -> None:
    outbox = Outbox(spool, lambda reading: None)
    outbox.keep(_reading(1))
    outbox.told(_reading(2))
    outbox.fenced(7)
    outbox.lost()
    assert not outbox.acknowledged(7), "of a connection that is gone"
    assert _kept(spool) == [1, 2]


def test_history_is_deleted_batch_by_batch_and_again_told_when_it_was_lost(spool: Spool) -> None:
    outbox = Outbox(spool, lambda reading: None)
    for at in range(BATCH + 5):
        outbox.keep(_reading(at))
    assert [reading.timestamp for reading in outbox.next_batch()] == list(range(BATCH))
    outbox.fenced(1)
    assert outbox.is_waiting
    outbox.lost()
    assert [reading.timestamp for reading in outbox.next_batch()] == list(range(BATCH)), "again"
    outbox.fenced(2)
    outbox.keep(_reading(99))
    assert outbox.acknowledged(2)
    assert _kept(spool) == [*range(BATCH, BATCH + 5), 99]
    assert outbox.counts == {"spool_rows": 6, "spool_dropped": 0}


def test_a_fence_that_was_made_before_a_batch_does_not_delete_it(spool: Spool) -> None:
    outbox = Outbox(spool, lambda reading: None)
    outbox.keep(_reading(1))
    outbox.fenced(1)
    outbox.acknowledged(1)
    assert outbox.has_history


def test_a_farewell_that_was_acknowledged_ends_it_all(spool: Spool) -> None:
    outbox = Outbox(spool, lambda reading: None)
    outbox.told(_reading(1))
    outbox.fenced(3)
    outbox.told(_reading(2))
    outbox.arrived_all()
    outbox.lost()
    assert _kept(spool) == []
