"""Ingest's connection to the broker: STATE, subscriptions, commands; what arrives is an event in a queue.

Rules kept here (specification 3.0, sections 4.4, 5.3, 5.13 and 5.14; docs/sparkplug.md says which are tested):

- A clean session; the will says that we are offline, with the time of CONNECT; at QoS 1, retained.
- First everything is subscribed to, our own STATE too, then STATE says that we are online, with the will's time.
- Should anyone say on our STATE that we are offline (the will of a connection of ours that has been replaced comes
  late), we say at once that we are online, with the same time.
- Before an intended disconnect we say that we are offline, with the time of it.
- Commands travel at QoS 0 with a timestamp and without seq.

Of several workers the first is the host to all others: it alone says STATE. Births and deaths come to each of them; the
broker divides the data among them (`$share`, which is of MQTT 5, but brokers know it in 3.1.1 too).
"""

import contextlib
import json
import logging
import queue
import sys
import time
from typing import Any

from msgspec import Struct

from edgeward.monitor.config import MonitorConfig
from edgeward.monitor.receiving import Arrived, Subscriber
from edgeward_runtimes.agent.config import broker_address
from edgeward_runtimes.agent.tls import tls_context
from edgeward_runtimes.sparkplug import codec
from edgeward_runtimes.sparkplug.codec import Metric, Payload
from edgeward_runtimes.sparkplug.primary_host import read_state
from edgeward_runtimes.sparkplug.topics import NAMESPACE, Topic, host_state

_log = logging.getLogger("edgeward.ingest")
_KEEP_ALIVE_S = 10
_FAREWELL_S = 2.0
_MOST_LISTS = 200  # of messages that wait; each is what came with one read
_BIRTHS_AND_DEATHS = ("NBIRTH/+", "NDEATH/+", "DBIRTH/+/+", "DDEATH/+/+")
_DATA = ("NDATA/+", "DDATA/+/+")


class Connected(Struct, frozen=True):
    """The broker accepted us; who is there already does not know that."""


Event = Arrived | Connected


class Connection:
    """The connection, made again and again."""

    def __init__(self, config: MonitorConfig, worker: int = 0) -> None:
        """Prepare; raises ConfigError for a broker's URL or TLS files that are wrong."""
        self.events: queue.Queue[list[Arrived] | Connected] = queue.Queue(_MOST_LISTS)
        self.connected_at: float | None = None  # Unix seconds
        self._config = config
        self._is_host = worker == 0
        self._address = broker_address(config.broker.url, tls=True)
        self._state_topic = host_state(config.host_id)
        self._state_at = 0  # Unix ms
        self._closing = False
        self._failure = ""
        self._client = self._make_client(worker)

    def start(self) -> None:
        """Begin to connect."""
        self._client.connect_async(self._address.host, self._address.port, keepalive=_KEEP_ALIVE_S)
        self._client.loop_start()

    def command(self, fleet: str, device: str, *metrics: Metric) -> None:
        """Send a command to a device."""
        payload = Payload(timestamp=int(time.time() * 1000), metrics=metrics)
        self._client.publish(str(Topic(fleet, "NCMD", device)), codec.encode(payload), qos=0)

    def close(self) -> None:
        """Say that we go offline, and disconnect."""
        self._closing = True
        if self._is_host and self._client.is_connected():
            self._state_at = max(self._state_at, int(time.time() * 1000))
            farewell = self._client.publish(self._state_topic, self._state(online=False), qos=1, retain=True)
            with contextlib.suppress(RuntimeError, ValueError):  # the broker may go at this very moment
                farewell.wait_for_publish(_FAREWELL_S)
        self._client.disconnect()
        self._client.loop_stop()

    def _make_client(self, worker: int) -> Subscriber:
        broker = self._config.broker
        suffix = "" if worker == 0 else f"-{worker}"
        client = Subscriber(f"edgeward-host-{self._config.host_id}{suffix}", self._arrived)
        if self._address.user is not None:
            client.username_pw_set(self._address.user, self._address.password)
        if self._address.tls:
            client.tls_set_context(tls_context(broker.ca, broker.certificate, broker.key))
        client.reconnect_delay_set(min_delay=1, max_delay=15)
        client.on_pre_connect = lambda *_: self._before_connecting()
        client.on_connect = self._on_connect
        client.on_connect_fail = lambda *_: self._complain(str(sys.exc_info()[1] or "no reason is known"))
        client.on_disconnect = self._on_disconnect
        return client

    def _before_connecting(self) -> None:
        self._state_at = int(time.time() * 1000)
        if self._is_host:
            self._client.will_set(self._state_topic, self._state(online=False), qos=1, retain=True)

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._complain(f"it refused us: {reason}")
            return
        _log.info("connected to %s", self._address.shown)
        self._failure = ""
        self._client.subscribe([(topic, 1) for topic in self._subscriptions()])
        if self._is_host:
            self._say_online()
        self.connected_at = time.time()
        self.events.put(Connected())

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if self.connected_at is None and not self._failure:
            hint = "; does it ask for a certificate?" if self._address.tls else ""
            self._complain(f"it closed the connection before it accepted us ({reason}){hint}")
        elif self.connected_at is not None and not self._closing:
            _log.warning("lost the broker %s: %s", self._address.shown, reason)
        self.connected_at = None

    def _subscriptions(self) -> list[str]:
        workers = self._config.ingest.workers
        share = "" if workers == 1 else f"$share/edgeward-{self._config.host_id}/"
        topics = [f"{NAMESPACE}/+/{each}" for each in _BIRTHS_AND_DEATHS]
        topics += [f"{share}{NAMESPACE}/+/{each}" for each in _DATA]
        return [*topics, self._state_topic] if self._is_host else topics

    def _arrived(self, arrived: list[Arrived]) -> None:
        told = [each for each in arrived if each.topic != self._state_topic]
        if len(told) < len(arrived):
            for each in arrived:
                if each.topic == self._state_topic and not each.is_retained:
                    self._hear_of_us(each.payload)
        if told:
            self.events.put(told)

    def _hear_of_us(self, payload: bytes) -> None:
        state = read_state(payload)
        if state is not None and not state.online and not self._closing:
            self._say_online()

    def _say_online(self) -> None:
        self._client.publish(self._state_topic, self._state(online=True), qos=1, retain=True)

    def _state(self, *, online: bool) -> str:
        return json.dumps({"online": online, "timestamp": self._state_at})

    def _complain(self, failure: str) -> None:
        """Say why there is no connection, once for each reason."""
        if failure != self._failure and not self._closing:
            _log.error("the broker %s cannot be used, trying again: %s", self._address.shown, failure)
        self._failure = failure
