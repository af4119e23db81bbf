"""The alerts' own connection to the broker: whether devices can be heard, and the way for notifications by MQTT.

Ingest is a Sparkplug host: its retained STATE says whether it is there, and its will takes that back (specification
3.0, section 5.17). So one connection tells of both, broker and ingest, without asking either.
"""

import contextlib
import json
import threading
import time
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edgeward.monitor.alerts import wording
from edgeward.monitor.alerts.channels import Mqtt
from edgeward.monitor.alerts.outbox import Word
from edgeward.monitor.alerts.seeing import Link
from edgeward.monitor.config import MonitorConfig
from edgeward_runtimes.agent.config import broker_address
from edgeward_runtimes.agent.tls import tls_context
from edgeward_runtimes.errors import MonitorError
from edgeward_runtimes.sparkplug.topics import host_state

_KEEP_ALIVE_S = 10
_WITHIN_S = 10.0


class BrokerLink:
    """A connection that is made again and again, from entering the context to leaving it."""

    def __init__(self, config: MonitorConfig) -> None:
        self._address = broker_address(config.broker.url, tls=True)
        self._topic = host_state(config.host_id)
        self._lock = threading.Lock()
        self._state = Link(self._unreachable, time.time())
        self._client = self._make_client(config)

    def __enter__(self) -> "BrokerLink":
        self._client.connect_async(self._address.host, self._address.port, keepalive=_KEEP_ALIVE_S)
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def state(self) -> Link:
        """Whether devices can be heard now, and since when that is so."""
        with self._lock:
            return self._state

    def deliver(self, channel: Mqtt, word: Word) -> None:
        """Publish at QoS 1, and wait for the broker's word that it has it. Raises MonitorError."""
        topic = f"{channel.topic}/{word.severity}/{_level(word.rule)}"
        sent = self._client.publish(topic, wording.document(word), qos=1) if self._client.is_connected() else None
        with contextlib.suppress(RuntimeError, ValueError):
            if sent is not None:
                sent.wait_for_publish(_WITHIN_S)
                if sent.is_published():
                    return
        raise MonitorError(self._unreachable)

    @property
    def _unreachable(self) -> str:
        return f"the broker {self._address.shown} cannot be reached"

    def _make_client(self, config: MonitorConfig) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"edgeward-alerts-{config.host_id}")
        client.reconnect_delay_set(min_delay=1, max_delay=10)
        if self._address.user is not None:
            client.username_pw_set(self._address.user, self._address.password)
        if self._address.tls:
            client.tls_set_context(tls_context(config.broker.ca, config.broker.certificate, config.broker.key))
        client.on_connect = self._on_connect
        client.on_disconnect = lambda *_: self._set(self._unreachable)
        client.on_message = lambda _client, _data, message: self._hear(bytes(message.payload))
        return client

    def _on_connect(self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._set(f"the broker {self._address.shown} refuses the monitor: {reason}")
            return
        self._set("ingest is not there: no STATE on the broker")
        client.subscribe(self._topic, qos=1)

    def _hear(self, payload: bytes) -> None:
        try:
            online = bool(json.loads(payload)["online"])
        except (ValueError, KeyError, TypeError):
            return
        self._set(None if online else "ingest is offline")

    def _set(self, wrong: str | None) -> None:
        with self._lock:
            if wrong != self._state.wrong or wrong is None:  # a new STATE online is a new beginning
                self._state = Link(wrong, time.time())


def _level(name: str) -> str:
    """As one level of a topic."""
    return "".join("_" if sign in "/+#\x00" else sign for sign in name)
