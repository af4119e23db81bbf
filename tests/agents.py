"""Agents, brokers and hosts for the agent's tests: real ones, in this process or beside it."""

import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from msgspec import Struct
from paho.mqtt.enums import CallbackAPIVersion

from edgeward_runtimes.agent.config import AgentConfig
from edgeward_runtimes.agent.service import Agent
from edgeward_runtimes.home import Home
from edgeward_runtimes.sparkplug import codec, metrics
from edgeward_runtimes.sparkplug.codec import DataType, Metric, Payload
from edgeward_runtimes.sparkplug.topics import Topic, host_state
from tests.conftest import accepts, wait_for

WITHIN_S = 40.0


class Heard(Struct, frozen=True):
    """A message as the broker delivered it."""

    topic: Topic
    payload: Payload
    qos: int
    retained: bool

    @property
    def kind(self) -> str:
        return self.topic.kind

    @property
    def values(self) -> dict[str, object]:
        """By name, of a birth."""
        return {metric.name: metric.value for metric in self.payload.metrics if metric.name}


class Host:
    """A Sparkplug host that writes down what it hears."""

    def __init__(self, port: int, prepare: Callable[[mqtt.Client], None] = lambda client: None) -> None:
        self.heard: list[Heard] = []
        self._new: queue.Queue[Heard] = queue.Queue()
        self._subscribed = threading.Event()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda *_: self.client.subscribe("spBv1.0/f/+/d/#", qos=1)
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.on_message = lambda _client, _data, message: self._hear(message)
        prepare(self.client)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self._subscribed.wait(WITHIN_S)

    def next(self, *kinds: str) -> Heard:
        """The next message, or the next of some kinds."""
        while True:
            message = self._new.get(timeout=WITHIN_S)
            if not kinds or message.kind in kinds:
                return message

    def named(self, kind: str = "NDATA") -> list[tuple[str, Metric]]:
        """All metrics of data so far, with the names that the births before them gave."""
        names: dict[int, str] = {}
        told = []
        for message in list(self.heard):
            for metric in message.payload.metrics:
                if metric.name is not None and metric.alias is not None:
                    names[metric.alias] = metric.name
                elif message.kind == kind:
                    told.append((names.get(-1 if metric.alias is None else metric.alias, "born unheard"), metric))
        return told

    def command(self, metric: Metric, device: str = "d") -> None:
        payload = codec.encode(Payload(timestamp=1, metrics=(metric,)))
        self.client.publish(f"spBv1.0/f/NCMD/{device}", payload)

    def ask_for_rebirth(self) -> None:
        self.command(Metric(name=metrics.REBIRTH, datatype=DataType.BOOLEAN, value=True))

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _hear(self, message: mqtt.MQTTMessage) -> None:
        if "CMD" in message.topic:
            return
        heard = Heard(Topic.parse(message.topic), codec.decode(message.payload), message.qos, message.retain)
        self.heard.append(heard)
        self._new.put(heard)


def say_state(port: int, online: bool, timestamp: int, host_id: str = "edgeward") -> None:
    """Publish a host's STATE, retained."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    payload = f'{{"online": {str(online).lower()}, "timestamp": {timestamp}}}'
    client.publish(host_state(host_id), payload, qos=1, retain=True).wait_for_publish(WITHIN_S)
    client.disconnect()
    client.loop_stop()


@contextmanager
def broker(port: int, folder: Path, *lines: str) -> Iterator[subprocess.Popen[bytes]]:
    """A real Mosquitto with a configuration file; by default on loopback for everybody."""
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    configuration = folder / f"mosquitto-{port}.conf"
    configuration.write_text("\n".join((f"listener {port} 127.0.0.1", "log_type none", *lines, "")))
    if not lines:
        configuration.write_text(configuration.read_text() + "allow_anonymous true\n")
    process = subprocess.Popen([program, "-c", str(configuration)], stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: accepts(port) or process.poll() is not None, "mosquitto to listen", WITHIN_S)
        assert process.poll() is None, "mosquitto ended"
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def embedded_broker(port: int) -> Iterator[None]:
    """The monitor's own broker, rumqttd."""
    process = subprocess.Popen([sys.executable, "-m", "edgeward.monitor.broker", f"mqtt://127.0.0.1:{port}"])
    try:
        wait_for(lambda: accepts(port), "rumqttd to listen", WITHIN_S)
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def running(config: AgentConfig, home: Home) -> Iterator[Agent]:
    """An agent in a thread of this process."""
    home.root.mkdir(parents=True, exist_ok=True)
    agent = Agent(config, home)
    thread = threading.Thread(target=agent.run)
    thread.start()
    try:
        yield agent
    finally:
        agent.stop()
        thread.join(WITHIN_S)
        assert not thread.is_alive()
