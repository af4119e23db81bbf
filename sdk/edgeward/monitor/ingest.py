"""The ingest process: from the broker into the store, `python -m edgeward.monitor.ingest CONFIG-AS-JSON`.

paho's thread only subscribes and queues what arrives: an exception there would end it for good. The main thread takes
what has come, up to a batch, runs it through the host's state, writes it in one transaction, and then asks for the
rebirths wanted. A store that is away is waited for; an update that it can never take is counted as dropped.
"""

import contextlib
import json
import logging
import queue
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import paho.mqtt.client as mqtt
from msgspec import Struct
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy.exc import OperationalError

from edgeward.monitor import queries, store
from edgeward.monitor.config import MonitorConfig
from edgeward.monitor.host import Dropped, HostState, RebirthWanted, Update
from edgeward_runtimes.agent.config import broker_address
from edgeward_runtimes.errors import EdgewardError, one_line
from edgeward_runtimes.sparkplug import codec, metrics
from edgeward_runtimes.sparkplug.codec import DataType, Metric, Payload
from edgeward_runtimes.sparkplug.topics import NAMESPACE, Topic, host_state

_log = logging.getLogger("edgeward.ingest")
_BATCH = 500
_BATCH_WITHIN_S = 0.2
_QUEUE_LIMIT = 100_000
_KEEP_ALIVE_S = 10
_FAREWELL_S = 2.0
_STORE_AGAIN_S = 1.0
_T = TypeVar("_T")

_REBIRTH = codec.encode(Payload(metrics=(Metric(name=metrics.REBIRTH, datatype=DataType.BOOLEAN, value=True),)))


class Arrived(Struct, frozen=True):
    """A message as it came."""

    topic: str
    payload: bytes
    at: float


class Connected(Struct, frozen=True):
    """The broker accepted us; who is there already does not know that."""


Event = Arrived | Connected


class Ingest:
    """One ingest worker."""

    def __init__(self, config: MonitorConfig) -> None:
        self._config = config
        self._engine = store.open_engine(config.store.url)
        self._host = HostState()
        self._events: queue.Queue[Event] = queue.Queue(_QUEUE_LIMIT)
        self._stopping = False
        self._connected_at = 0
        self._client = self._make_client()

    def stop(self) -> None:
        """Ask the loop to end; safe from a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """Ingest until stopped."""
        address = broker_address(self._config.broker.url)
        self._client.connect_async(address.host, address.port, keepalive=_KEEP_ALIVE_S)
        self._client.loop_start()
        while not self._stopping:
            updates = [update for event in self._take_batch() for update in self._updates(event)]
            if updates:
                self._write(updates)
            for update in updates:
                if isinstance(update, RebirthWanted):
                    self._ask_for_rebirth(update.fleet, update.device)
        if self._client.is_connected():
            farewell = self._client.publish(*self._state(online=False), qos=1, retain=True)
            with contextlib.suppress(RuntimeError, ValueError):  # the broker may go at this very moment
                farewell.wait_for_publish(_FAREWELL_S)
        self._client.disconnect()
        self._client.loop_stop()

    def _updates(self, event: Event) -> list[Update]:
        if isinstance(event, Arrived):
            return self._host.receive(event.topic, event.payload, event.at)
        known = self._until_it_works(lambda: queries.known_nodes(self._engine))
        return [RebirthWanted(fleet, device) for fleet, device in known or ()]

    def _take_batch(self) -> list[Event]:
        """What has come, after the first message for a short while more."""
        try:
            batch = [self._events.get(timeout=_BATCH_WITHIN_S)]
        except queue.Empty:
            return []
        deadline = time.monotonic() + _BATCH_WITHIN_S
        while len(batch) < _BATCH and (left := deadline - time.monotonic()) > 0:
            try:
                batch.append(self._events.get(timeout=left))
            except queue.Empty:
                break
        return batch

    def _write(self, updates: list[Update]) -> None:
        """Write a batch, or all of it but what cannot be written: one odd device must not hold up the fleet."""
        try:
            self._until_it_works(lambda: store.apply(self._engine, updates))
        except Exception as error:
            if len(updates) > 1:
                for update in updates:
                    self._write([update])
                return
            dropped = Dropped(one_line(error))
            _log.error("dropped a %s: %s", type(updates[0]).__name__, dropped.reason)
            self._until_it_works(lambda: store.apply(self._engine, [dropped]))

    def _until_it_works(self, work: Callable[[], _T]) -> _T | None:
        """Use the store, again and again while it is away: totals are cumulative, but births are not.

        Returns None when told to stop meanwhile.
        """
        while not self._stopping:
            try:
                return work()
            except OperationalError as error:
                _log.error("the store fails, trying again: %s", one_line(error))
                time.sleep(_STORE_AGAIN_S)
        return None

    def _ask_for_rebirth(self, fleet: str, device: str) -> None:
        self._client.publish(str(Topic(fleet, "NCMD", device)), _REBIRTH, qos=0)

    def _state(self, *, online: bool) -> tuple[str, str]:
        """Our STATE topic and payload; birth and will of one connection carry one timestamp (section 5.17)."""
        payload = {"online": online, "timestamp": self._connected_at}
        return host_state(self._config.host_id), json.dumps(payload)

    def _make_client(self) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"edgeward-host-{self._config.host_id}")
        address = broker_address(self._config.broker.url)
        if address.user is not None:
            client.username_pw_set(address.user, address.password)
        client.reconnect_delay_set(min_delay=1, max_delay=15)
        client.on_pre_connect = lambda client, userdata: self._before_connecting(client)
        client.on_connect = self._on_connect
        client.on_message = lambda client, userdata, message: self._events.put(
            Arrived(message.topic, bytes(message.payload), time.time())
        )
        return client

    def _before_connecting(self, client: mqtt.Client) -> None:
        self._connected_at = int(time.time() * 1000)
        client.will_set(*self._state(online=False), qos=1, retain=True)

    def _on_connect(self, client: mqtt.Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            _log.error("the broker %s refused us: %s", self._config.broker.url, reason)
            return
        _log.info("connected to %s", self._config.broker.url)
        # Topics of the namespace by type: STATE messages, ours among them, are not for the host's state machine.
        kinds = ("NBIRTH", "NDATA", "NDEATH", "DBIRTH", "DDATA", "DDEATH")
        levels = {"N": "+", "D": "+/+"}
        client.subscribe([(f"{NAMESPACE}/+/{kind}/{levels[kind[0]]}", 1) for kind in kinds])
        client.publish(*self._state(online=True), qos=1, retain=True)
        self._events.put(Connected())


def main() -> int:
    """Run until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        ingest = Ingest(msgspec.json.decode(sys.argv[1], type=MonitorConfig))
    except EdgewardError as error:
        print(error, file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ingest.stop())
    ingest.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
