"""A fleet's certificates and access rules with a real Mosquitto: who may say and hear what, until it is shut out."""

import contextlib
import json
import os
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import paho.mqtt.client as mqtt
import pytest
from msgspec.structs import replace
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import select

pytest.importorskip("cryptography")

from edgeward.enrollment import cutting, devices, settings
from edgeward.enrollment.folder import Fleet, init
from edgeward.monitor import child, schema
from edgeward.monitor import config as monitor_configs
from edgeward.monitor.alerts.link import BrokerLink
from edgeward.monitor.config import StoreConfig
from edgeward.monitor.database import open_engine
from edgeward_runtimes.agent import config as agent_configs
from edgeward_runtimes.agent.tls import tls_context
from edgeward_runtimes.home import Home
from tests.agents import Host, running
from tests.conftest import Cli, wait_for

FLEET = "plant"


class Client:
    """A connection with a certificate; writes down what it hears."""

    def __init__(self, fleet: Fleet, files: tuple[Path, Path], port: int, client_id: str = "") -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.events: list[str] = []
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id)
        ca = fleet.folder / "authority" / "ca.pem"
        self.client.tls_set_context(tls_context(str(ca), *map(str, files)))
        self.client.on_connect = lambda *_: self.events.append("connected")
        self.client.on_disconnect = lambda *_: self.events.append("disconnected")
        self.client.on_message = lambda _client, _data, message: self.heard.append((message.topic, message.payload))
        self.client.reconnect_delay_set(1, 1)
        self._subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        wait_for(lambda: self.events, "an answer of the broker")

    def subscribe(self, topic: str) -> None:
        self._subscribed.clear()
        self.client.subscribe(topic, qos=1)
        assert self._subscribed.wait(10)

    def say(self, topic: str, payload: bytes = b"x") -> None:
        self.client.publish(topic, payload, qos=1).wait_for_publish(10)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def fleet(tmp_path: Path, free_port: Callable[[], int]) -> Fleet:
    chosen = settings.make(FLEET, ("127.0.0.1",), port=free_port(), monitor_port=free_port())
    return init(tmp_path / "fleet", chosen, days=30)


@pytest.fixture
def broker(fleet: Fleet) -> Iterator[subprocess.Popen[bytes]]:
    """Mosquitto with the configuration that was made; as root, it stays root, as test folders are root's alone."""
    program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if program is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    configuration = fleet.folder / "broker" / "mosquitto.conf"
    with configuration.open("a") as file:
        file.write("log_type none\n" + ("user root\n" if os.geteuid() == 0 else ""))
    process = subprocess.Popen([program, "-c", str(configuration)], stderr=subprocess.DEVNULL)
    try:
        wait_for((fleet.folder / "broker" / "data" / "mosquitto.pid").exists, "mosquitto to start")
        yield process
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def connect(fleet: Fleet, broker: subprocess.Popen[bytes]) -> Iterator[Callable[..., Client]]:
    """Connect as a device, or as the monitor."""
    with contextlib.ExitStack() as stack:

        def make(name: str, *, port: int | None = None, client_id: str = "") -> Client:
            if name == "monitor":
                folder, port = fleet.folder / "monitor", fleet.settings.monitor_port
                files = (folder / "monitor.pem", folder / "monitor.key")
            else:
                folder = fleet.folder / "devices" / name
                files = (folder / "device.pem", folder / "device.key")
            client = Client(fleet, files, port or fleet.settings.port, client_id)
            stack.callback(client.close)
            return client

        yield make


def test_a_device_publishes_as_itself_alone(fleet: Fleet, connect: Callable[..., Client]) -> None:
    for name in ("a", "b"):
        devices.enroll(fleet, name, None)
    monitor = connect("monitor")
    monitor.subscribe("#")
    device = connect("a")
    own = [f"spBv1.0/{FLEET}/{kind}/a" for kind in ("NBIRTH", "NDATA", "NDEATH")]
    own += [f"spBv1.0/{FLEET}/{kind}/a/m" for kind in ("DBIRTH", "DDATA", "DDEATH")]
    others = [topic.replace("/a", "/b") for topic in own]
    others += [f"spBv1.0/{FLEET}/NCMD/a", f"spBv1.0/{FLEET}/NCMD/b", "spBv1.0/STATE/edgeward", "edgeward/alerts/x"]
    others += ["spBv1.0/other/NDATA/a", f"spBv1.0/{FLEET}/NDATA/a/m", f"spBv1.0/{FLEET}/DDATA/a/m/x", "anything"]
    for topic in (*others, *own):
        device.say(topic)
    wait_for(lambda: len(monitor.heard) >= len(own), "the device's own messages")
    assert [topic for topic, _ in monitor.heard] == own


def test_a_device_hears_commands_to_itself_and_the_monitors_state_alone(
    fleet: Fleet, connect: Callable[..., Client]
) -> None:
    for name in ("a", "b"):
        devices.enroll(fleet, name, None)
    device, other, monitor = connect("a"), connect("b"), connect("monitor")
    for topic in ("#", f"spBv1.0/{FLEET}/NCMD/b", f"$share/g/spBv1.0/{FLEET}/#"):
        device.subscribe(topic)
    other.say(f"spBv1.0/{FLEET}/NDATA/b")
    wanted = [f"spBv1.0/{FLEET}/NCMD/a", f"spBv1.0/{FLEET}/DCMD/a/m", "spBv1.0/STATE/edgeward"]
    for topic in (f"spBv1.0/{FLEET}/NCMD/b", f"spBv1.0/{FLEET}/DCMD/b/m", "edgeward/alerts/critical/offline", *wanted):
        monitor.say(topic)
    wait_for(lambda: set(wanted) <= {topic for topic, _ in device.heard}, "what it may hear")
    assert {topic for topic, _ in device.heard} == set(wanted)


def test_a_device_cannot_take_over_anothers_connection_by_its_client_id(
    fleet: Fleet, connect: Callable[..., Client]
) -> None:
    for name in ("a", "b"):
        devices.enroll(fleet, name, None)
    monitor, device = connect("monitor"), connect("a", client_id="a")
    monitor.subscribe("#")
    intruder = connect("b", client_id="a")
    intruder.say(f"spBv1.0/{FLEET}/NDATA/b")
    device.say(f"spBv1.0/{FLEET}/NDATA/a")
    wait_for(lambda: len(monitor.heard) == 2, "both to be heard")
    assert device.events == ["connected"]


def test_without_a_certificate_of_this_fleet_there_is_no_connection(
    fleet: Fleet, broker: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    other = init(tmp_path / "other", fleet.settings, days=30)
    foreign = devices.enroll(other, "a", None)
    wait_for(lambda: _refusal(fleet, None) is not None, "mosquitto to listen")
    assert _refusal(fleet, None) == "refused"
    assert _refusal(fleet, (foreign / "device.pem", foreign / "device.key")) == "refused"
    ours = devices.enroll(fleet, "a", None)
    assert _refusal(fleet, (ours / "device.pem", ours / "device.key")) == "accepted"
    server = fleet.folder / "broker"  # the broker's own certificate opens nothing
    assert _refusal(fleet, (server / "server.pem", server / "server.key")) == "refused"


def test_a_revoked_device_is_cut_off_and_refused_and_the_others_stay(
    fleet: Fleet, connect: Callable[..., Client]
) -> None:
    places = {name: devices.enroll(fleet, name, None) for name in ("a", "b", "c")}
    monitor, device, other = connect("monitor"), connect("a"), connect("b")
    monitor.subscribe("#")
    # Two within a second: each list of revocations has to be later than the one before.
    assert devices.revoke(fleet, "c").broker_reloaded
    assert devices.revoke(fleet, "a").broker_reloaded
    assert cutting.cut(fleet, "a", None)
    wait_for(lambda: "disconnected" in device.events, "the connection to be cut")
    for name, answer in (("a", "refused"), ("c", "refused"), ("b", "accepted")):
        assert _refusal(fleet, (places[name] / "device.pem", places[name] / "device.key")) == answer
    wait_for(lambda: "disconnected" in other.events, "the probe above to take over b's connection")
    connect("b").say(f"spBv1.0/{FLEET}/NDATA/b")
    wait_for(lambda: monitor.heard, "the device that stays")
    assert {topic for topic, _ in monitor.heard} == {f"spBv1.0/{FLEET}/NDATA/b"}
    shutil.rmtree(places["a"])
    devices.enroll(fleet, "a", None)
    connect("a").say(f"spBv1.0/{FLEET}/NDATA/a")
    wait_for(lambda: len(monitor.heard) == 2, "the device that was let in anew")


def test_an_open_connection_of_a_revoked_device_says_and_hears_nothing(
    fleet: Fleet, connect: Callable[..., Client]
) -> None:
    for name in ("a", "b"):
        devices.enroll(fleet, name, None)
    monitor, device, other = connect("monitor"), connect("a"), connect("b")
    monitor.subscribe("#")
    device.subscribe("#")
    devices.revoke(fleet, "a")
    # Signals are handled between messages: once a revoked device is refused, the rules have been read too.
    wait_for(lambda: _refusal(fleet, _files(fleet, "a")) == "refused", "the certificate to be refused")
    device.say(f"spBv1.0/{FLEET}/NDATA/a")
    monitor.say(f"spBv1.0/{FLEET}/NCMD/a")
    other.say(f"spBv1.0/{FLEET}/NDATA/b")
    wait_for(lambda: f"spBv1.0/{FLEET}/NDATA/b" in {topic for topic, _ in monitor.heard}, "the other device")
    assert f"spBv1.0/{FLEET}/NDATA/a" not in {topic for topic, _ in monitor.heard}
    assert device.heard == []


def test_the_broker_takes_a_renewed_certificate_while_it_runs(fleet: Fleet, broker: subprocess.Popen[bytes]) -> None:
    wait_for(lambda: _served(fleet) is not None, "mosquitto to listen")
    before = _served(fleet)
    devices.renew(fleet, settings.BROKER, None)
    wait_for(lambda: _served(fleet) not in (None, before), "the new certificate")


def test_an_agent_reports_with_the_files_that_it_was_given(
    fleet: Fleet, broker: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    place = devices.enroll(fleet, "d", tmp_path / "for-d")
    config = replace(agent_configs.read(place / "agent.toml"), interval_s=0.2)
    folder = fleet.folder / "monitor"
    context = tls_context(*(str(folder / name) for name in ("ca.pem", "monitor.pem", "monitor.key")))
    host = Host(fleet.settings.monitor_port, lambda client: _as_monitor(client, context))
    with running(config, Home.under(tmp_path / "device")):
        birth = host.next("NBIRTH")
        assert (birth.topic.fleet, birth.topic.device) == (FLEET, "d")
        host.client.publish(f"spBv1.0/{FLEET}/NCMD/d", b"not a payload")  # refused by the agent, not by the broker
        assert host.next("NDATA").topic.device == "d"
    assert host.next("NDEATH").qos == 1
    host.close()


def test_a_monitor_with_the_files_that_were_made_sees_the_agent_and_its_end(
    fleet: Fleet, broker: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    made = monitor_configs.read(fleet.folder / "monitor" / "monitor.toml")
    config = replace(made, store=StoreConfig(url=f"sqlite:///{tmp_path}/monitor.db"))
    place = devices.enroll(fleet, "d", None)
    agent = replace(agent_configs.read(place / "agent.toml"), interval_s=0.5)
    engine = open_engine(config.store.url)

    def online() -> list[tuple[str, bool]]:
        with engine.connect() as connection:
            rows = connection.execute(select(schema.devices.c.id, schema.devices.c.online))
            return [(name, is_online) for name, is_online in rows]

    ingest = child.start("edgeward.monitor.ingest", msgspec.json.encode(config).decode())
    try:
        with running(agent, Home.under(tmp_path / "device")), BrokerLink(config) as alerts:
            wait_for(lambda: online() == [(f"{FLEET}/d", True)], "the device")
            wait_for(lambda: alerts.state.wrong is None, "the alerts' own connection to see ingest")
        wait_for(lambda: online() == [(f"{FLEET}/d", False)], "its end")
    finally:
        child.stop(ingest)


def test_the_command_line_makes_a_fleet_lets_in_and_shuts_out(cli: Cli, tmp_path: Path) -> None:
    place = tmp_path / "plant-1"
    assert cli("fleet", "init", place, "--host", "broker.example.org", "--host", "10.0.0.2")[0] == 0
    code, out, _ = cli("fleet", "enroll", "press-7", "--folder", place, "--json")
    assert (code, json.loads(out)["broker"]) == (0, "mqtts://broker.example.org:8883")
    code, _, err = cli("fleet", "enroll", "press-7", "-o", tmp_path / "twice", "--folder", place)
    assert code == 2
    assert "press-7 is enrolled until" in err
    assert not (tmp_path / "twice").exists()
    assert cli("fleet", "renew", "--within", "400", "--folder", place)[0] == 0
    code, out, _ = cli("fleet", "revoke", "press-7", "--folder", place, "--json")
    told = json.loads(out)
    assert (told["certificates"], told["broker_reloaded"], told["connection_cut"]) == (2, False, False)
    code, out, _ = cli("fleet", "devices", "--folder", place, "--json")
    states = {each["name"]: each["state"] for each in json.loads(out)["enrolled"]}
    assert states == {"edgeward-broker": "good", "edgeward-monitor": "good", "press-7": "revoked"}
    assert cli("fleet", "devices", "--folder", tmp_path)[2].startswith(f"error: {tmp_path} is no fleet's folder")


def _as_monitor(client: mqtt.Client, context: ssl.SSLContext) -> None:
    client.tls_set_context(context)
    client.on_connect = lambda *_: client.subscribe(f"spBv1.0/{FLEET}/+/d/#", qos=1)


def _files(fleet: Fleet, name: str) -> tuple[Path, Path]:
    return fleet.folder / "devices" / name / "device.pem", fleet.folder / "devices" / name / "device.key"


def _refusal(fleet: Fleet, files: tuple[Path, Path] | None) -> str | None:
    """`accepted` or `refused` by the broker; None when it does not listen."""
    context = tls_context(str(fleet.folder / "authority" / "ca.pem"), *map(str, files or ()))
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="probe")
    client.tls_set_context(context)
    answers: list[str] = []
    client.on_connect = lambda *_: answers.append("accepted")
    client.on_disconnect = lambda *_: answers.append("refused")
    try:
        client.connect("127.0.0.1", fleet.settings.port)
    except ConnectionRefusedError:
        return None
    deadline = time.monotonic() + 10
    while not answers and time.monotonic() < deadline:
        client.loop(0.1)
    client.disconnect()
    return answers[0]


def _served(fleet: Fleet) -> str | None:
    try:
        return ssl.get_server_certificate(("127.0.0.1", fleet.settings.port))
    except OSError:
        return None
