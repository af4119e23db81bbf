"""Ingest with a real broker and store: neither an odd device nor a store that is away for a while stops it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import Engine, text

from edgeward.monitor import queries, store
from edgeward.monitor.config import BrokerConfig, MonitorConfig, StoreConfig
from edgeward.monitor.ingest import Ingest
from edgeward_runtimes.latency.counters import Counters
from edgeward_runtimes.latency.histogram import BUCKET_COUNT, Histogram
from edgeward_runtimes.sparkplug.session import EdgeNode, Message, ModelReading, Reading
from edgeward_runtimes.sparkplug.topics import host_state
from tests.conftest import wait_for

Publish = Callable[[list[Message]], None]


@pytest.fixture
def config(tmp_path: Path, mosquitto: int) -> MonitorConfig:
    return MonitorConfig(
        broker=BrokerConfig(embedded=False, url=f"mqtt://127.0.0.1:{mosquitto}"),
        store=StoreConfig(url=f"sqlite:///{tmp_path / 'monitor.db'}"),
    )


@contextmanager
def _running(ingest: Ingest) -> Iterator[None]:
    thread = threading.Thread(target=ingest.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ingest.stop()
        thread.join(10)


@pytest.fixture
def publish(mosquitto: int) -> Iterator[Publish]:
    """Publish as a device does, once the host is there."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    host_is_there = threading.Event()
    client.on_message = lambda client, userdata, message: b'"online": true' in message.payload and host_is_there.set()
    client.on_connect = lambda *_: client.subscribe(host_state("edgeward"), 1)
    client.connect("127.0.0.1", mosquitto)
    client.loop_start()

    def send(messages: list[Message]) -> None:
        assert host_is_there.wait(20), "the host did not come online"
        for message in messages:
            client.publish(message.topic, message.payload, qos=1).wait_for_publish(10)

    yield send
    client.disconnect()
    client.loop_stop()


def _birth(device: str, totals: Counters) -> list[Message]:
    return EdgeNode("f", device, 0).birth(Reading(1, {}, {"m": ModelReading({"release": "r"}, (totals,))}), 1.0)


def _counted(bucket: int, count: int) -> Counters:
    counts = np.zeros(BUCKET_COUNT, np.uint64)
    counts[bucket] = count
    return Counters("r", "e", 0, Histogram(counts, count))


def test_a_device_whose_reports_cannot_be_stored_does_not_hold_up_the_others(
    config: MonitorConfig, publish: Publish
) -> None:
    engine = store.open_engine(config.store.url)

    def shown() -> tuple[dict[str, int], int]:
        counts = {device: count for device, _, count, _, _ in queries.model_totals(engine)}
        return counts, queries.dropped(engine)

    with _running(Ingest(config)):
        publish(_birth("odd", _counted(0, 2**63 - 1)))
        # Each of the two fits the store, but not the later of both.
        publish([*_birth("odd", _counted(1, 2**63 - 1)), *_birth("good", _counted(0, 7))])
        wait_for(lambda: shown() == ({"f/odd": 2**63 - 1, "f/good": 7}, 1), "the good device's report")
        publish(_birth("good", _counted(0, 8)))
        wait_for(lambda: shown() == ({"f/odd": 2**63 - 1, "f/good": 8}, 1), "the good device's next report")


def test_a_store_that_fails_while_ingest_connects_is_waited_for(config: MonitorConfig, publish: Publish) -> None:
    ingest = Ingest(config)
    engine = store.open_engine(config.store.url)
    _execute(engine, "ALTER TABLE devices RENAME TO away")
    with _running(ingest):
        publish(_birth("d", _counted(0, 5)))
        _execute(engine, "ALTER TABLE away RENAME TO devices")
        wait_for(lambda: [device.id for device in queries.devices(engine)] == ["f/d"], "the device in the store")


def _execute(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))
