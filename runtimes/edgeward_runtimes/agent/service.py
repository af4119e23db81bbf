"""The agent's loop: paho-mqtt's events and the clock in, a Sparkplug session's messages out.

paho's network thread only puts events into a queue, and sets the will before it connects; everything else is
decided on the main thread, so nothing here needs a lock. paho makes the connection, and after every loss makes it
again, with jittered back-off.
"""

import json
import logging
import queue
import random
import signal
import time
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as mqtt
from msgspec import Struct
from paho.mqtt.enums import CallbackAPIVersion

from edgeward_runtimes.agent.config import AgentConfig, Interval, broker_address
from edgeward_runtimes.agent.reading import Reader
from edgeward_runtimes.durable import write_atomically
from edgeward_runtimes.home import Home
from edgeward_runtimes.sparkplug import codec, metrics
from edgeward_runtimes.sparkplug.codec import Value
from edgeward_runtimes.sparkplug.session import EdgeNode, Message, Reading
from edgeward_runtimes.sparkplug.topics import host_state

_log = logging.getLogger("edgeward.agent")
_FAREWELL_S = 2.0


class Connected(Struct, frozen=True):
    """The broker accepted us."""


class Disconnected(Struct, frozen=True):
    """The connection is gone."""


class Received(Struct, frozen=True):
    """A message came on a topic that we subscribed to."""

    topic: str
    payload: bytes
    retained: bool


class Stop(Struct, frozen=True):
    """Someone wants the agent to end."""


Event = Connected | Disconnected | Received | Stop


class Agent:
    """One device's agent."""

    def __init__(self, config: AgentConfig, home: Home) -> None:
        self._config = config
        self._home = home
        self._reader = Reader(config, home)
        self._interval_s = config.interval_s
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._node = EdgeNode(config.fleet, config.device, 0)
        self._host_topic = host_state(config.host_id)
        self._connected = False
        self._bd_seq = 0
        self._client = self._make_client()

    def stop(self) -> None:
        """Ask the loop to end; safe from a signal handler."""
        self._events.put(Stop())

    def run(self) -> None:
        """Report until stopped."""
        address = broker_address(self._config.broker)
        self._client.connect_async(address.host, address.port, keepalive=self._config.keep_alive_s)
        self._client.loop_start()
        try:
            next_report = time.monotonic()
            while True:
                try:
                    event = self._events.get(timeout=max(0.0, next_report - time.monotonic()))
                except queue.Empty:
                    next_report = time.monotonic() + self._interval_s
                    self._report()
                    continue
                if isinstance(event, Stop):
                    break
                self._handle(event)
        finally:
            self._say_goodbye()
            self._reader.close()

    def _handle(self, event: Event) -> None:
        match event:
            case Connected():
                _log.info("connected to %s as %s/%s", self._config.broker, self._config.fleet, self._config.device)
                self._connected = True
                self._client.subscribe([(self._node.command_topic, 1), (self._host_topic, 1)])
                self._give_birth()
            case Disconnected():
                _log.warning("lost the broker %s; trying again", self._config.broker)
                self._connected = False
            case Received(topic=topic) if topic == self._host_topic:
                if not event.retained and _is_online(event.payload):  # a host that came back knows nothing
                    self._give_birth()
            case Received():
                self._obey(event.payload)

    def _obey(self, payload: bytes) -> None:
        try:
            commands = codec.decode(payload).metrics
        except ValueError as error:
            _log.warning("ignored a command: %s", error)
            return
        for command in commands:
            name = self._node.name_of(command)
            if name == metrics.REBIRTH and command.value is True:
                self._give_birth()
            elif name == metrics.REPORTING_INTERVAL:
                self._report_every(command.value)
            else:
                _log.warning("ignored the unknown command %r", name or command.alias)

    def _report_every(self, interval_s: Value) -> None:
        try:
            self._interval_s = msgspec.convert(interval_s, Interval)
        except msgspec.ValidationError as error:
            _log.warning("ignored the reporting interval %r: %s", interval_s, error)
        else:
            self._give_birth()

    def _give_birth(self) -> None:
        reading = self._read()
        if reading is not None:
            self._publish(self._node.birth(reading, self._interval_s))
            self._reader.told(reading)

    def _report(self) -> None:
        if self._connected and not self._node.is_born:  # the device could not be read when it should have been
            self._give_birth()
            return
        reading = self._read()  # folds dead processes' files even while there is no broker
        if reading is not None and self._connected:
            self._publish(self._node.data(reading))

    def _read(self) -> Reading | None:
        """Read the device; None when its disk is full or failing, which must not end the agent."""
        try:
            return self._reader.read()
        except OSError as error:
            _log.error("this device cannot be read, trying again in %s s: %s", self._interval_s, error)
            return None

    def _publish(self, messages: list[Message]) -> None:
        for message in messages:
            self._client.publish(message.topic, message.payload, qos=message.qos)

    def _say_goodbye(self) -> None:
        if self._connected:
            self._report()
            death = self._node.death(_now_ms())
            sent = self._client.publish(death.topic, death.payload, qos=death.qos)
            try:
                sent.wait_for_publish(_FAREWELL_S)
            except (RuntimeError, ValueError):
                _log.info("the broker was gone before we could say so")
        self._client.disconnect()
        self._client.loop_stop()

    def _make_client(self) -> mqtt.Client:
        config = self._config
        # A session per device: a second agent under the same name would push the first one off the broker.
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"edgeward-{config.fleet}-{config.device}")
        address = broker_address(config.broker)
        if address.user is not None:
            client.username_pw_set(address.user, address.password)
        client.reconnect_delay_set(min_delay=1, max_delay=30 + random.randrange(30))  # noqa: S311 (jitter)
        client.on_pre_connect = lambda client, userdata: self._before_connecting(client)
        client.on_connect = self._on_connect
        client.on_disconnect = lambda *_: self._events.put(Disconnected())
        client.on_message = lambda client, userdata, message: self._events.put(
            Received(message.topic, bytes(message.payload), message.retain)
        )
        return client

    def _before_connecting(self, client: mqtt.Client) -> None:
        """Each connection's will carries its own bdSeq, kept over restarts."""
        try:
            self._bd_seq = next_bd_seq(self._home.root / "bdseq")
        except OSError as error:
            _log.error("bdSeq cannot be kept: %s", error)
            self._bd_seq = (self._bd_seq + 1) % 256
        self._node.reconnecting(self._bd_seq)
        will = self._node.death(_now_ms())
        client.will_set(will.topic, will.payload, qos=will.qos)

    def _on_connect(self, client: mqtt.Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            _log.error("the broker %s refused us: %s", self._config.broker, reason)
        else:
            self._events.put(Connected())


def run(config: AgentConfig, home: Home) -> None:
    """Run the agent until SIGTERM or SIGINT. Raises EdgewardError when it cannot start."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    home.latency.mkdir(parents=True, exist_ok=True)
    agent = Agent(config, home)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.stop())
    agent.run()


def next_bd_seq(path: Path) -> int:
    """Count one connection more, modulo 256, on the disk; a damaged file starts over at 0."""
    try:
        last = int(path.read_text())
    except (FileNotFoundError, ValueError):
        last = -1
    following = (last + 1) % 256
    write_atomically(path, str(following).encode())
    return following


def _is_online(payload: bytes) -> bool:
    try:
        state = json.loads(payload)
    except ValueError:
        return False
    return isinstance(state, dict) and state.get("online") is True


def _now_ms() -> int:
    return int(time.time() * 1000)
