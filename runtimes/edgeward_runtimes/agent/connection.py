"""One device's connection to its broker: paho-mqtt's events in a queue, and messages out.

paho makes the connection, and after every loss makes it again, with growing and jittered pauses. Its thread only puts
events into the queue, and sets the will before it connects; everything else is decided by whoever reads the queue.

A connection is known by its bdSeq. Messages are given with that of the connection they were made for, and go nowhere
once it is gone: data can never come before the birth of the next one.
"""

import contextlib
import logging
import queue
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from msgspec import Struct
from paho.mqtt.enums import CallbackAPIVersion

from edgeward_runtimes.agent.config import AgentConfig, broker_address
from edgeward_runtimes.agent.tls import tls_context
from edgeward_runtimes.durable import write_atomically
from edgeward_runtimes.sparkplug.session import Message, death
from edgeward_runtimes.sparkplug.topics import Topic, host_state

_log = logging.getLogger("edgeward.agent")
_FAREWELL_S = 2.0
_JITTER_S = 2.0  # a fleet whose broker comes back must not come back in one moment
_AT_MOST_ONCE, _AT_LEAST_ONCE = 0, 1


class Connected(Struct, frozen=True):
    """The broker accepted us; our will carries this bdSeq."""

    bd_seq: int


class Disconnected(Struct, frozen=True):
    """The connection is gone."""


class Received(Struct, frozen=True):
    """A message came on a topic that we subscribed to."""

    topic: str
    payload: bytes
    retained: bool


class Acknowledged(Struct, frozen=True):
    """The broker has had a request, and all that was sent before it."""

    request: int


class Answered(Struct, frozen=True):
    """There is an answer to a request to be told."""


class Stop(Struct, frozen=True):
    """Someone wants the agent to end."""


Event = Connected | Disconnected | Received | Acknowledged | Answered | Stop


class Connection:
    """The connection, made again and again."""

    def __init__(self, config: AgentConfig, bd_seq_file: Path) -> None:
        """Prepare; raises ConfigError for a broker's URL or TLS files that are wrong."""
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.command_topic = str(Topic(config.fleet, "NCMD", config.device))
        self.state_topic = host_state(config.host_id)
        self._config = config
        self._address = broker_address(config.broker, tls=True)
        self._bd_seq_file = bd_seq_file
        self._bd_seq = 0
        self._accepted: int | None = None  # the bdSeq of the connection that stands
        self._failure = ""
        self._attempts = 0
        self._closing = threading.Event()
        self._client = self._make_client()

    def start(self) -> None:
        """Begin to connect."""
        self._closing.clear()
        self._client.connect_async(self._address.host, self._address.port, keepalive=self._config.keep_alive_s)
        self._client.loop_start()

    def publish(self, bd_seq: int, messages: list[Message]) -> None:
        """Send messages on the connection with this bdSeq."""
        for message in messages:
            if self._accepted == bd_seq:
                self._client.publish(message.topic, message.payload, qos=message.qos)

    def fence(self) -> int | None:
        """Make a request that the broker acknowledges after it has had all that was sent; gives its number.

        It subscribes to our commands again, which changes nothing and every device may do. (A ping would do as well,
        but paho tells nobody of its answer; Sparkplug wants births and data at QoS 0.)
        """
        result, request = self._client.subscribe(self.command_topic, _AT_LEAST_ONCE)
        return request if result == mqtt.MQTT_ERR_SUCCESS else None

    def close(self, bd_seq: int | None) -> bool:
        """Say NDEATH on the connection with this bdSeq, if there is one, and disconnect.

        Returns whether the broker acknowledged it, and so has had everything before.
        """
        arrived = False
        self._closing.set()
        if bd_seq is not None and self._accepted == bd_seq:
            farewell = death(self._config.fleet, self._config.device, bd_seq, int(time.time() * 1000))
            sent = self._client.publish(farewell.topic, farewell.payload, qos=farewell.qos)
            with contextlib.suppress(RuntimeError, ValueError):
                sent.wait_for_publish(_FAREWELL_S)
                arrived = sent.is_published()
        self._client.disconnect()
        self._client.loop_stop()
        return arrived

    def _make_client(self) -> mqtt.Client:
        config = self._config
        # A session per device: a second agent under the same name would push the first one off the broker.
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"edgeward-{config.fleet}-{config.device}")
        if self._address.user is not None:
            client.username_pw_set(self._address.user, self._address.password)
        if self._address.tls:
            client.tls_set_context(tls_context(config.ca, config.certificate, config.key))
        client.reconnect_delay_set(min_delay=1, max_delay=30 + random.randrange(30))  # noqa: S311 (jitter)
        client.on_pre_connect = lambda *_: self._wait_a_moment()
        client.on_socket_open = lambda client, *_: self._set_will(client)
        client.on_connect = self._on_connect
        client.on_connect_fail = lambda *_: self._complain(_what_failed(sys.exc_info()[1]))
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = lambda client, userdata, request, *_: self.events.put(Acknowledged(request))
        client.on_message = lambda client, userdata, message: self.events.put(
            Received(message.topic, bytes(message.payload), message.retain)
        )
        return client

    def _wait_a_moment(self) -> None:
        self._attempts += 1
        if self._attempts > 1:
            self._closing.wait(random.uniform(0, _JITTER_S))  # noqa: S311 (jitter)
        if self._closing.is_set():
            raise OSError("closing")  # paho takes it for an attempt that failed, and sees that it is to end

    def _set_will(self, client: mqtt.Client) -> None:
        """The socket is open and CONNECT comes next: every one carries the bdSeq after that of the one before."""
        try:
            self._bd_seq = next_bd_seq(self._bd_seq_file)
        except OSError as error:
            _log.error("bdSeq cannot be kept: %s", error)
            self._bd_seq = (self._bd_seq + 1) % 256
        will = death(self._config.fleet, self._config.device, self._bd_seq, int(time.time() * 1000))
        client.will_set(will.topic, will.payload, qos=will.qos)

    def _on_connect(self, client: mqtt.Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._complain(f"it refused us: {reason}")
            return
        self._failure = ""
        self._accepted = self._bd_seq
        client.subscribe([(self.command_topic, _AT_LEAST_ONCE), (self.state_topic, _AT_LEAST_ONCE)])
        self.events.put(Connected(self._bd_seq))

    def _on_disconnect(self, client: mqtt.Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if self._accepted is not None:
            self._accepted = None
            if not self._closing.is_set():
                self.events.put(Disconnected())
        elif not self._failure:
            hint = "; does it ask for a certificate?" if self._address.tls else ""
            self._complain(f"it closed the connection before it accepted us ({reason}){hint}")

    def _complain(self, failure: str) -> None:
        """Say why there is no connection, once for each reason."""
        if failure != self._failure and not self._closing.is_set():
            _log.warning("the broker %s cannot be used, trying again: %s", self._address.shown, failure)
        self._failure = failure


def _what_failed(error: BaseException | None) -> str:
    return "no reason is known" if error is None else str(error) or type(error).__name__


def next_bd_seq(path: Path) -> int:
    """Count one connection more, modulo 256, on the disk; a damaged file starts over at 0."""
    try:
        last = int(path.read_text())
    except (FileNotFoundError, ValueError):
        last = -1
    following = (last + 1) % 256
    write_atomically(path, str(following).encode())
    return following
