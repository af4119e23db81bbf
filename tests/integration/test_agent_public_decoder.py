"""A Sparkplug host that nobody here wrote, pysparkplug in an environment of its own, reads what the agent says."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from edgeward_runtimes.agent.config import AgentConfig
from edgeward_runtimes.agent.spool import Spool
from edgeward_runtimes.home import Home
from edgeward_runtimes.latency.recorder import Recorder
from edgeward_runtimes.sparkplug import metrics
from edgeward_runtimes.sparkplug.session import ModelReading, Reading
from tests.agents import running
from tests.environments import python_with

NEEDED = ("pysparkplug==0.6.1",)

# A host of pysparkplug's own: it subscribes, asks for one rebirth, and prints every message as it understands it.
_HOST = """
import json, sys
import pysparkplug as spb

def show(client, message):
    payload, topic = message.payload, message.topic
    found = getattr(payload, "metrics", None) or (payload.bd_seq_metric,)
    print(json.dumps({
        "kind": topic.message_type.name, "device": topic.device_id, "seq": getattr(payload, "seq", None),
        "metrics": [
            [m.name, m.datatype.name, repr(m.value), m.timestamp, m.is_historical, m.is_null] for m in found
        ],
    }), flush=True)

client = spb.Client()
for kind in (spb.MessageType.NBIRTH, spb.MessageType.NDATA, spb.MessageType.NDEATH):
    client.subscribe(spb.Topic(group_id="f", message_type=kind, edge_node_id="d"), spb.QoS.AT_LEAST_ONCE, show)
for kind in (spb.MessageType.DBIRTH, spb.MessageType.DDATA, spb.MessageType.DDEATH):
    topic = spb.Topic(group_id="f", message_type=kind, edge_node_id="d", device_id=spb.SINGLE_LEVEL_WILDCARD)
    client.subscribe(topic, spb.QoS.AT_LEAST_ONCE, show)
client.connect("127.0.0.1", port=int(sys.argv[1]))
print("ready", flush=True)
for line in sys.stdin:
    now = spb.get_current_timestamp()
    rebirth = spb.Metric(timestamp=now, name="Node Control/Rebirth", datatype=spb.DataType.BOOLEAN, value=True)
    client.publish(spb.Message(
        topic=spb.Topic(group_id="f", message_type=spb.MessageType.NCMD, edge_node_id="d"),
        payload=spb.NCmd(timestamp=now, metrics=(rebirth,)), qos=spb.QoS.AT_MOST_ONCE, retain=False,
    ), include_dtypes=True)
client.disconnect()
"""


@pytest.fixture(scope="session")
def sparkplug_python() -> Path:
    """The environment's Python."""
    return python_with("pysparkplug", NEEDED)


@pytest.fixture
def host(sparkplug_python: Path, mosquitto: int) -> Iterator[tuple[IO[str], Iterator[dict]]]:
    """What to write to for a rebirth, and the messages as pysparkplug reads them."""
    command = [str(sparkplug_python), "-c", _HOST, str(mosquitto)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process.stdin, map(json.loads, process.stdout)
        process.kill()


@pytest.mark.slow
def test_births_data_history_and_death_are_read_and_a_rebirth_is_answered(
    host: tuple[IO[str], Iterator[dict]], mosquitto: int, tmp_path: Path
) -> None:
    ask, messages = host
    home = Home.under(tmp_path / "device")
    home.latency.mkdir(parents=True)
    recorder = Recorder("digits", "1.0.0-abc", str(home.latency))
    recorder.success(2_000_000)
    spool = Spool(home.root / "spool.db", rows=100, size_bytes=1_000_000)
    for at in (1_000, 2_000):
        spool.append(Reading(at, {"cpu_percent": float(at)}, {"digits": ModelReading({"errors": at}, ())}))
    spool.close()
    config = AgentConfig(fleet="f", device="d", broker=f"mqtt://127.0.0.1:{mosquitto}", interval_s=0.3)
    heard: list[dict] = []

    def until(kind: str, *, historical: bool = False) -> dict:
        for message in messages:
            heard.append(message)
            if message["kind"] == kind and any(metric[4] for metric in message["metrics"]) is historical:
                return message
        raise AssertionError(f"pysparkplug ended before {kind}")

    with running(config, home):
        node = until("NBIRTH")
        model = until("DBIRTH")
        for _ in range(3):
            recorder.success(3_000_000)
        changed = until("DDATA")
        past = [until("NDATA", historical=True), until("DDATA", historical=True)]
        ask.write("\n")
        ask.flush()
        until("NBIRTH")
        until("DBIRTH")
    death = until("NDEATH")
    recorder.close()

    by_name = {name: (kind, value) for name, kind, value, *_ in node["metrics"]}
    events = {metrics.LOGS, metrics.REQUEST, metrics.ANSWER}
    expected = {*metrics.FACTS, *metrics.HEALTH, *metrics.SENSORS, *events, metrics.BDSEQ}
    assert set(by_name) == expected | {metrics.REBIRTH, metrics.REPORTING_INTERVAL}
    assert by_name[metrics.REBIRTH] == ("BOOLEAN", "False")
    assert by_name[metrics.BDSEQ] == ("INT64", "0")
    assert [name for name, *_ in model["metrics"]] == [*metrics.MODEL, *metrics.OBSERVED]
    assert {name: value for name, _, value, *_ in changed["metrics"]}.keys() <= set(metrics.MODEL)
    oldest = [[(name, value, at) for name, _, value, at, *_ in each["metrics"]][:2] for each in past]
    assert oldest == [
        [("cpu_percent", "1000.0", 1_000), ("cpu_percent", "2000.0", 2_000)],
        [("errors", "1000", 1_000), ("errors", "2000", 2_000)],
    ]
    assert death["metrics"][0][:3] == [metrics.BDSEQ, "INT64", "0"]
    numbered = [message["seq"] for message in heard if message["kind"] != "NDEATH"]
    again = numbered.index(0, 1)
    assert numbered == [*range(again), *range(len(numbered) - again)]
    unknown = [metric for message in heard for metric in message["metrics"] if metric[0] is None]
    assert unknown == [], "every alias was given by a birth"
