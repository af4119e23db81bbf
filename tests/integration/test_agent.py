"""The agent against a real Mosquitto: a birth comes first whatever fails, and no command can end it."""

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edgeward_runtimes.agent.config import AgentConfig, broker_address
from edgeward_runtimes.agent.service import Agent
from edgeward_runtimes.errors import ConfigError
from edgeward_runtimes.home import Home
from edgeward_runtimes.sparkplug import codec, metrics
from edgeward_runtimes.sparkplug.codec import DataType, Metric, Payload
from edgeward_runtimes.sparkplug.topics import Topic

Next = Callable[[], tuple[Topic, Payload]]


@pytest.fixture
def host(mosquitto: int) -> Iterator[tuple[mqtt.Client, Next]]:
    """A Sparkplug host: its client, and the next message of the fleet."""
    received: queue.Queue[tuple[Topic, Payload]] = queue.Queue()
    subscribed = threading.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda *_: client.subscribe("spBv1.0/f/+/d/#", qos=1)
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = lambda _client, _data, message: (
        None if "CMD" in message.topic else received.put((Topic.parse(message.topic), codec.decode(message.payload)))
    )
    client.connect("127.0.0.1", mosquitto)
    client.loop_start()
    assert subscribed.wait(10)
    yield client, lambda: received.get(timeout=10)
    client.disconnect()
    client.loop_stop()


@pytest.fixture
def start_agent(mosquitto: int, tmp_path: Path) -> Iterator[Callable[[], Agent]]:
    running: list[tuple[Agent, threading.Thread]] = []
    config = AgentConfig(fleet="f", device="d", broker=f"mqtt://127.0.0.1:{mosquitto}", interval_s=0.1)
    home = Home.under(tmp_path / "device")
    home.root.mkdir()
    made = Agent(config, home)

    def start() -> Agent:
        thread = threading.Thread(target=made.run)
        thread.start()
        running.append((made, thread))
        return made

    yield start
    for agent, thread in running:
        agent.stop()
        thread.join(10)
        assert not thread.is_alive()


def _command(metric: Metric) -> tuple[str, bytes]:
    return "spBv1.0/f/NCMD/d", codec.encode(Payload(metrics=(metric,)))


def test_a_device_that_could_not_be_read_at_first_is_born_before_its_data(host, start_agent, monkeypatch) -> None:
    from edgeward_runtimes.agent.reading import Reader

    read, failures = Reader.read, [OSError(28, "No space left on device")] * 3

    def failing(self: Reader):
        if failures:
            raise failures.pop()
        return read(self)

    monkeypatch.setattr(Reader, "read", failing)
    start_agent()
    _, next_message = host
    topic, payload = next_message()
    assert (topic.kind, payload.seq) == ("NBIRTH", 0)
    topic, payload = next_message()
    assert (topic.kind, payload.seq) == ("NDATA", 1)


def test_no_reporting_interval_can_end_the_agent_and_a_good_one_is_taken_by_its_alias(host, start_agent) -> None:
    start_agent()
    client, next_message = host
    _, birth = next_message()
    alias = {metric.name: metric.alias for metric in birth.metrics}[metrics.REPORTING_INTERVAL]
    bad = [(DataType.DOUBLE, value) for value in (float("inf"), float("nan"), 1e10, -1.0, 0.0, 1e-9)]
    for datatype, value in [*bad, (DataType.STRING, "often"), (DataType.BOOLEAN, True)]:
        client.publish(*_command(Metric(name=metrics.REPORTING_INTERVAL, datatype=datatype, value=value)))
    client.publish("spBv1.0/f/NCMD/d", b"\xff\xff")
    client.publish(*_command(Metric(alias=alias, datatype=DataType.DOUBLE, value=0.25)))
    while True:
        topic, payload = next_message()
        if topic.kind == "NBIRTH":
            break
    assert {metric.name: metric.value for metric in payload.metrics}[metrics.REPORTING_INTERVAL] == 0.25


def test_a_stopped_agent_says_goodbye_with_the_bd_seq_of_its_birth(host, start_agent) -> None:
    agent = start_agent()
    _, next_message = host
    _, birth = next_message()
    agent.stop()
    while True:
        topic, payload = next_message()
        if topic.kind == "NDEATH":
            break
    said = {metric.name: metric.value for metric in birth.metrics}
    assert [metric.value for metric in payload.metrics] == [said[metrics.BDSEQ]]


@pytest.mark.parametrize("url", ["http://here", "mqtt://", "mqtt://[bad", "mqtt://here:port", "mqtt://here:99999"])
def test_a_broker_that_is_no_url_is_named(url: str) -> None:
    with pytest.raises(ConfigError, match="is not of the form mqtt://host:port"):
        broker_address(url)


def test_users_and_passwords_may_hold_any_character() -> None:
    address = broker_address("mqtt://me%40site:p%3Aw@here")
    assert (address.user, address.password, address.port) == ("me@site", "p:w", 1883)
