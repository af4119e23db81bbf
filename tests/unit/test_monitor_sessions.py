"""The host's state beyond counting: logs, answers, what is gone, clocks that are wrong, several workers of one host."""

from pathlib import Path

import pytest

from edgeward.monitor import config as configs
from edgeward.monitor.clocks import SkewEstimate
from edgeward.monitor.host import HostState
from edgeward.monitor.rebirths import Rebirths, in_turn
from edgeward.monitor.updates import (
    AnswerSeen,
    Dropped,
    HistorySeen,
    LogsSeen,
    ModelsAre,
    ModelSeen,
    NodeDied,
    NodeSeen,
    RebirthWanted,
    Update,
)
from edgeward_runtimes.errors import ConfigError
from edgeward_runtimes.sparkplug import codec, metrics
from edgeward_runtimes.sparkplug.codec import DataType, Metric, Payload
from edgeward_runtimes.sparkplug.requests import Answer
from edgeward_runtimes.sparkplug.session import EdgeNode, LogLine, Message, ModelReading, Reading


def _reading(at: float, *models: str, logs: tuple[LogLine, ...] = (), **node: object) -> Reading:
    told = {name: ModelReading({"release": "r", "predictions": int(at)}, ()) for name in models}
    return Reading(int(at * 1000), {"cpu_percent": at, **node}, told, logs)


def _receive(host: HostState, messages: list[Message], at: float) -> list[Update]:
    return [update for message in messages for update in host.receive(message.topic, message.payload, at)]


def _of(kind: type, updates: list[Update]) -> list:
    return [each for each in updates if isinstance(each, kind)]


def test_a_log_line_is_kept_once_however_often_it_is_told() -> None:
    node, host = EdgeNode("f", "d", 0), HostState()
    line = LogLine(100_000, "ERROR edgeward.model: it broke: twice")
    told = _receive(host, node.birth(_reading(100, logs=(line,)), 10.0), at=100.0)
    told += _receive(host, node.data(_reading(101, logs=(line, LogLine(101_000, "no form at all")))), at=101.0)
    told += _receive(host, node.history([_reading(99, logs=(line,))], 102_000), at=102.0)
    lines = [line for seen in _of(LogsSeen, told) for line in seen.lines]
    assert [(each.at, each.level, each.logger, each.text) for each in lines] == [
        (100.0, "ERROR", "edgeward.model", "it broke: twice"),
        (101.0, "WARNING", "", "no form at all"),
    ]


def test_answers_come_in_parts_and_what_is_none_is_dropped() -> None:
    node, host = EdgeNode("f", "d", 0), HostState()
    _receive(host, node.birth(_reading(1), 10.0), at=1.0)
    parts = [Answer("id", True, "done", part, 2, b"x" * part) for part in range(2)]
    told = [update for part in parts for update in _receive(host, node.answer(part, 2_000), at=2.0)]
    assert [each.answer for each in _of(AnswerSeen, told)] == parts
    odd = Metric(name=metrics.ANSWER, datatype=DataType.BYTES, value=b"\xc1")
    payload = codec.encode(Payload(seq=3, metrics=(odd,)))
    assert _of(Dropped, host.receive("spBv1.0/f/NDATA/d", payload, 3.0))


def test_what_sensors_and_models_observe_is_kept_unless_it_is_too_large() -> None:
    node, host = EdgeNode("f", "d", 0), HostState()
    born = _receive(host, node.birth(_reading(1, "m", power_w=4.5, spool_rows=3), 10.0), at=1.0)
    seen = _of(NodeSeen, born)[0].values
    assert (seen["power_w"], seen["spool_rows"]) == (4.5, 3)
    for size, is_kept in ((64 * 1024, True), (64 * 1024 + 1, False)):
        values = {"release": "r", "drift_score": 0.3, metrics.OBSERVATIONS: bytes(size)}
        [model] = _of(
            ModelSeen,
            _receive(host, node.data(Reading(2_000, {}, {"m": ModelReading(values, ())})), at=2.0),
        )
        assert (metrics.OBSERVATIONS in model.values) == is_kept


# tck-id-operational-behavior-data-commands-rebirth-action-2: births tell all, so what they leave out is not there
def test_models_that_are_not_born_again_are_gone() -> None:
    node, host = EdgeNode("f", "d", 0), HostState()
    _receive(host, node.birth(_reading(1, "kept", "gone"), 10.0), at=1.0)
    again = _receive(host, node.birth(_reading(2, "kept"), 10.0), at=2.0)
    assert not _of(ModelsAre, again), "more may be born"
    assert _of(ModelsAre, _receive(host, node.data(_reading(3, "kept")), at=3.0)) == [
        ModelsAre("f", "d", frozenset({"kept"}))
    ]
    assert not _of(ModelsAre, _receive(host, node.data(_reading(4, "kept")), at=4.0))


# tck-id-operational-behavior-edge-node-termination-host-action-ndeath-node-offline
def test_after_its_death_nothing_of_a_node_counts_before_it_is_born_again() -> None:
    node, host = EdgeNode("f", "d", 0), HostState()
    _receive(host, node.birth(_reading(1, "m"), 10.0), at=1.0)
    assert _receive(host, [node.death(2_000)], at=2.0) == [NodeDied("f", "d")]
    assert _receive(host, node.data(_reading(3, "m")), at=3.0) == [RebirthWanted("f", "d")]


@pytest.mark.parametrize("ahead_s", [-3600.0, 0.0, 3600.0])
def test_what_is_told_afterwards_has_the_time_of_our_clock(ahead_s: float) -> None:
    node, host = EdgeNode("f", "d", 0), HostState()
    born = _receive(host, node.birth(_reading(90_000 + ahead_s), 10.0), at=90_000.0)
    assert _of(NodeSeen, born)[0].clock_skew_s == ahead_s
    kept = [_reading(80_000 + ahead_s, logs=(LogLine(int((80_001 + ahead_s) * 1000), "ERROR a: b"),))]
    told = _receive(host, node.history(kept, int((90_002 + ahead_s) * 1000)), at=90_002.0)
    assert [each.at for each in _of(HistorySeen, told)] == [80_000.0]
    assert [each.lines[0].at for each in _of(LogsSeen, told)] == [80_001.0]


def test_a_late_message_is_no_sign_of_a_wrong_clock_and_a_step_is_believed() -> None:
    clock = SkewEstimate()
    for second in range(20):
        clock.add(second * 1000 + 5_000, second + (3.0 if second % 2 else 0.0))  # half of them wait three seconds
    assert clock.seconds == 5.0
    clock.add(100_000 + 3_605_000, 100.0)
    assert clock.seconds == 3605.0
    for second in range(8):
        clock.add((200 + second) * 1000, 200.0 + second)
    assert clock.seconds == 0.0


class TestWorkers:
    """Births and deaths come to all workers, data to any."""

    def test_every_worker_reads_the_data_and_one_tells_of_births(self) -> None:
        hosts = [HostState(worker, 3) for worker in range(3)]
        node = EdgeNode("f", "d", 0)
        births = node.birth(_reading(1, "m"), 10.0)
        told = [_receive(host, births, at=1.0) for host in hosts]
        assert sorted(len(each) for each in told) == [0, 0, 2]
        for number, host in enumerate(hosts * 3):  # seq rises over all of them, and none misses the others'
            updates = _receive(host, node.data(_reading(2 + number, "m")), at=2.0 + number)
            assert len(_of(NodeSeen, updates)) == len(_of(ModelSeen, updates)) == 1
            assert not _of(RebirthWanted, updates)
        assert sorted(len(_receive(host, [node.death(99_000)], at=99.0)) for host in hosts) == [0, 0, 1]
        for number, host in enumerate(hosts):
            assert _receive(host, node.data(_reading(100 + number, "m")), at=100.0) == [RebirthWanted("f", "d")]

    def test_each_device_is_some_workers(self) -> None:
        hosts = [HostState(worker, 4) for worker in range(4)]
        for device in map(str, range(50)):
            births = EdgeNode("f", device, 0).birth(_reading(1), 10.0)
            assert sum(len(_receive(host, births, at=1.0)) for host in hosts) == 1


def test_a_large_fleet_is_asked_for_rebirths_little_by_little_and_each_device_once() -> None:
    rebirths, fleet = Rebirths(), [("f", str(number)) for number in range(3000)]
    rebirths.want(fleet)
    rebirths.want(fleet[:100])
    asked = [rebirths.take(100 + tick * 0.25) for tick in range(20)]
    assert max(map(len, asked)) <= 500
    assert [device for each in asked for device in each] == fleet
    assert rebirths.take(999) == []


def test_within_an_hour_each_device_has_its_turn_once() -> None:
    fleet = [("f", str(number)) for number in range(300)]
    turns = [in_turn(fleet, minute) for minute in range(60)]
    assert sorted(device for turn in turns for device in turn) == sorted(fleet)
    assert max(map(len, turns)) < 30


def test_several_workers_on_sqlite_are_refused_and_files_lie_beside_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "monitor.toml"
    file.write_text("[ingest]\nworkers = 2\n")
    with pytest.raises(ConfigError, match=r"SQLite has one writer .* PostgreSQL"):
        configs.read(file)
    file.write_text('[broker]\nembedded = false\nurl = "mqtts://b"\nca = "ca.pem"\ncertificate = "/m.pem"\n')
    broker = configs.read(file).broker
    assert (broker.ca, broker.certificate, broker.key) == (str(tmp_path / "ca.pem"), "/m.pem", None)
