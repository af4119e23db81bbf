"""Ingest with real brokers, stores and devices: requests, TLS, silence, several workers, a simulated fleet."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt import subscribe
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import Engine, func, select

from edgeward.monitor import requests, schema
from edgeward.monitor.config import BrokerConfig, IngestConfig, MonitorConfig, StoreConfig
from edgeward.monitor.database import open_engine
from edgeward.monitor.ingest import Ingest
from edgeward.monitor.supervisor import Supervised
from edgeward_runtimes.agent.tls import tls_context
from edgeward_runtimes.latency.counters import Counters
from edgeward_runtimes.latency.histogram import Histogram
from edgeward_runtimes.sparkplug import codec, metrics
from edgeward_runtimes.sparkplug import requests as messages
from edgeward_runtimes.sparkplug.requests import Answer, Request
from edgeward_runtimes.sparkplug.session import EdgeNode, Message, ModelReading, Reading
from edgeward_runtimes.sparkplug.topics import host_state
from tests.agents import broker as mosquitto_with
from tests.conftest import Cli, wait_for

WITHIN_S = 60.0


@contextmanager
def _running(config: MonitorConfig) -> Iterator[None]:
    ingest = Ingest(config)
    thread = threading.Thread(target=ingest.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ingest.stop()
        thread.join(10)


class Device:
    """A device played by the agent's own session: it gives rebirths, and keeps what it is asked."""

    def __init__(self, name: str, port: int, prepare=lambda client: None) -> None:
        self.node = EdgeNode("f", name, 0)
        self.asked: list[Request] = []
        self.count = 0
        self._lock = threading.Lock()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        will = self.node.death(1)
        self._client.will_set(will.topic, will.payload, qos=1)
        self._client.on_connect = lambda *_: self._client.subscribe(self.node.command_topic, 1)
        self._client.on_subscribe = lambda *_: self.birth()
        self._client.on_message = lambda client, userdata, message: self._obey(message.payload)
        prepare(self._client)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def birth(self) -> None:
        with self._lock:
            self._say(self.node.birth(self._reading(), 1.0))

    def predict(self, count: int) -> None:
        """Make so many predictions more, and tell."""
        with self._lock:
            self.count += count
            if self.node.is_born:
                self._say(self.node.data(self._reading()))

    def answer(self, answer: Answer) -> None:
        with self._lock:
            self._say(self.node.answer(answer, int(time.time() * 1000)))

    def vanish(self) -> None:
        """Without DISCONNECT: the broker says the will."""
        self._client.loop_stop()
        self._client.socket().close()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _obey(self, payload: bytes) -> None:
        for metric in codec.decode(payload).metrics:
            if metric.name == metrics.REBIRTH:
                self.birth()
            elif metric.name == metrics.REQUEST:
                self.asked.append(messages.decode_request(metric.value))

    def _reading(self) -> Reading:
        now = int(time.time() * 1000)
        totals = (Counters("r", "e", 0, Histogram.of([1_000_000] * self.count)),)
        return Reading(
            now, {"keep_alive_s": 60.0, "uptime_s": now / 1000}, {"m": ModelReading({"release": "r"}, totals)}
        )

    def _say(self, told: list[Message]) -> None:
        for message in told:
            self._client.publish(message.topic, message.payload, qos=message.qos)


def _config(port: int, store_url: str, workers: int = 1) -> MonitorConfig:
    return MonitorConfig(
        broker=BrokerConfig(embedded=False, url=f"mqtt://127.0.0.1:{port}"),
        store=StoreConfig(url=store_url),
        ingest=IngestConfig(workers=workers),
    )


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'monitor.db'}"


def _online(engine: Engine) -> dict[str, bool]:
    with engine.connect() as connection:
        return dict(map(tuple, connection.execute(select(schema.devices.c.device, schema.devices.c.online))))


def _predictions(engine: Engine, table=schema.counters) -> dict[str, int]:
    query = select(table.c.device_id, func.sum(table.c.predictions)).group_by(table.c.device_id)
    with engine.connect() as connection:
        return {device: int(count) for device, count in connection.execute(query)}


def test_a_request_reaches_its_device_and_the_answer_comes_back_in_parts(mosquitto: int, sqlite: str) -> None:
    engine = open_engine(sqlite)
    with _running(_config(mosquitto, sqlite)):
        number = requests.ask(engine, "f/d", "capture", {"name": "m", "most": 3}, "ann")
        device = Device("d", mosquitto)
        wait_for(lambda: device.asked, "the request at the device", WITHIN_S)
        assert device.asked == [Request(number, "capture", {"name": "m", "most": 3})]
        for part in (1, 0):
            device.answer(Answer(number, True, "two parts", part, 2, b"content"[part * 4 :][: 4 - part]))
        wait_for(lambda: requests.content(engine, number) is not None, "the answer", WITHIN_S)
        assert requests.content(engine, number) == b"content"
        found = requests.result(engine, number)
        assert found is not None
        assert (found.ok, found.message) == (True, "two parts")
        device.close()


def test_a_device_is_offline_by_its_will_and_by_its_silence(mosquitto: int, sqlite: str, monkeypatch) -> None:
    monkeypatch.setattr("edgeward.monitor.ingest._SILENCE_EVERY_S", 0.1)
    monkeypatch.setattr(Device, "_reading", lambda self: Reading(1, {"keep_alive_s": 1.0}, {}))
    engine = open_engine(sqlite)
    with _running(_config(mosquitto, sqlite)):
        subscribe.simple(host_state("edgeward"), port=mosquitto)  # it has subscribed, and hears births
        by_will, by_silence = Device("will", mosquitto), Device("silent", mosquitto)
        wait_for(lambda: len(_online(engine)) == 2, "both devices", WITHIN_S)
        by_will.vanish()
        wait_for(lambda: not _online(engine)["will"], "the will", WITHIN_S)
        wait_for(lambda: not _online(engine)["silent"], "the silence to be noticed", WITHIN_S)
        by_silence.birth()
        wait_for(lambda: _online(engine)["silent"], "the device that speaks again", WITHIN_S)
        by_silence.close()


def test_a_broker_that_asks_for_certificates_is_used(free_port, tmp_path: Path, sqlite: str) -> None:
    pytest.importorskip("cryptography")
    from tests.certificates import Authority

    authority, port = Authority(tmp_path), free_port()
    server, server_key = authority.issue("server")
    ours, our_key = authority.issue("monitor")
    for path in tmp_path.iterdir():
        path.chmod(0o644)
    lines = (f"cafile {authority.path}", f"certfile {server}", f"keyfile {server_key}", "require_certificate true")
    files = {"ca": str(authority.path), "certificate": str(ours), "key": str(our_key)}
    config = msgspec.structs.replace(
        _config(port, sqlite), broker=BrokerConfig(embedded=False, url=f"mqtts://127.0.0.1:{port}", **files)
    )
    context = tls_context(str(authority.path), str(ours), str(our_key))
    with mosquitto_with(port, tmp_path, "user root", *lines, "use_identity_as_username true"), _running(config):
        device = Device("d", port, lambda client: client.tls_set_context(context))
        device.predict(5)
        wait_for(lambda: _predictions(open_engine(sqlite)) == {"f/d": 5}, "its report", WITHIN_S)
        device.close()


def test_several_workers_count_exactly_while_one_of_them_is_killed(mosquitto: int, postgres) -> None:
    with postgres.database() as store_url, ExitStack() as stack:
        config = _config(mosquitto, store_url, workers=3)
        argument = msgspec.json.encode(config).decode()
        engine = open_engine(store_url)
        workers = [
            stack.enter_context(Supervised("edgeward.monitor.ingest", argument, str(number))) for number in (1, 2)
        ]
        stack.enter_context(_running(config))
        devices = [stack.enter_context(_closing(Device(str(number), mosquitto))) for number in range(6)]

        def all_are_known() -> bool:
            for device in devices:
                device.predict(0)
            return len(_predictions(engine)) == 6

        wait_for(all_are_known, "all devices", WITHIN_S)
        for step in range(30):
            for device in devices:
                device.predict(3)
            if step == 15:
                workers[0]._process.kill()
            time.sleep(0.01)
        expected = {f"f/{number}": 90 for number in range(6)}
        wait_for(lambda: _predictions(engine) == expected, "every prediction", WITHIN_S)
        assert _predictions(engine, schema.latency[60]) == expected, "and the series say the same"
        assert set(_online(engine).values()) == {True}
        engine.dispose()


@contextmanager
def _closing(device: Device) -> Iterator[Device]:
    try:
        yield device
    finally:
        device.close()


def test_what_a_simulated_fleet_predicts_is_what_the_monitor_shows(mosquitto: int, sqlite: str, cli: Cli) -> None:
    engine = open_engine(sqlite)
    arguments = ("--devices", 40, "--rate", 60, "--predictions", 20, "--broker", f"mqtt://127.0.0.1:{mosquitto}")
    with _running(_config(mosquitto, sqlite)):
        code, out, _ = cli("fleet", "simulate", *arguments, "--seconds", 4, "--json")
        assert code == 0
        told = msgspec.json.decode(out)
        assert told["predictions"] > 100
        wait_for(
            lambda: sum(_predictions(engine).values()) + _errors(engine) == told["predictions"] + told["errors"],
            f"{told['predictions']} predictions",
            WITHIN_S,
        )
        assert (sum(_predictions(engine).values()), _errors(engine)) == (told["predictions"], told["errors"])
        wait_for(lambda: not any(_online(engine).values()), "every farewell", WITHIN_S)
        assert len(_online(engine)) == 40


def _errors(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(select(func.sum(schema.counters.c.errors))).scalar() or 0)


def test_a_fleet_too_large_for_this_system_is_refused_in_a_sentence(cli: Cli) -> None:
    code, _, said = cli("fleet", "simulate", "--devices", 1_000_000)
    assert code == 2
    assert "open files" in said
