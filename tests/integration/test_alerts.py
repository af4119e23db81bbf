"""The alerts' process with a real broker, web server and mail server: word arrives, whatever dies meanwhile."""

import contextlib
import http.server
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as mqtt
import pytest
import uvicorn
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import Engine, insert, update

pytest.importorskip("aiosmtpd")
pytest.importorskip("cryptography")

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from edgeward.monitor import child, schema
from edgeward.monitor.alerts import mail, queries, webhook
from edgeward.monitor.alerts.channels import Mqtt, RefusedError, Smtp, Webhook
from edgeward.monitor.alerts.link import BrokerLink
from edgeward.monitor.alerts.outbox import Told, Word
from edgeward.monitor.alerts.rounds import Rounds
from edgeward.monitor.alerts.rules import AlertConfig, Seconds, Temperature
from edgeward.monitor.alerts.seeing import Link
from edgeward.monitor.api import make_app
from edgeward.monitor.config import AlertsConfig, BrokerConfig, MonitorConfig, StoreConfig
from edgeward.monitor.database import open_engine, writing
from edgeward_runtimes.errors import MonitorError
from tests.agents import broker, say_state
from tests.certificates import Authority
from tests.conftest import Cli, wait_for

WORD = Word(
    "0123", "hot", "temperature", "warning", 1, 0,
    (Told("a", "firing", "f", "press-7", "", "85.0 °C (limit 80 °C)", 85.0, 80.0, 1.0, 2.0, None),),
)  # fmt: skip


class Receiver:
    """A web server that takes what is posted, and answers with the next of its answers, by default 200."""

    def __init__(self) -> None:
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.taken.append((dict(self.headers), body))
                self.send_response(outer.answers.pop(0) if outer.answers else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/hook"

    @property
    def words(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.taken]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


def test_a_webhook_gets_signed_json(receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key\n")
    webhook.deliver(Webhook(receiver.url, secret_file=str(tmp_path / "secret")), WORD)
    [(headers, body)] = receiver.taken
    document = json.loads(body)
    assert (document["id"], document["rule"], document["firing"]) == ("0123", "hot", 1)
    assert document["alerts"][0]["device"] == "press-7"
    assert headers["X-Edgeward-Id"] == "0123"
    at = int(headers["X-Edgeward-Signature"].split(",")[0].removeprefix("t="))
    assert headers["X-Edgeward-Signature"] == webhook.signature("key", body, at)
    assert abs(time.time() - at) < 60


def test_what_a_webhook_answers_decides_whether_it_is_tried_again(receiver: Receiver) -> None:
    receiver.answers = [500, 429, 404]
    for kind in (MonitorError, MonitorError, RefusedError):
        with pytest.raises(MonitorError, match="the receiver answered") as caught:
            webhook.deliver(Webhook(receiver.url), WORD)
        assert type(caught.value) is kind
    with pytest.raises(MonitorError, match=r"[Rr]efused"):
        webhook.deliver(Webhook("http://127.0.0.1:1/"), WORD)


def test_a_webhook_over_tls_is_checked(receiver: Receiver, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("server"))
    receiver.server.socket = context.wrap_socket(receiver.server.socket, server_side=True)
    url = receiver.url.replace("http://", "https://")
    webhook.deliver(Webhook(url, ca=str(authority.path)), WORD)
    with pytest.raises(MonitorError, match="CERTIFICATE_VERIFY_FAILED"):
        webhook.deliver(Webhook(url), WORD)
    assert len(receiver.taken) == 1


class Mailbox:
    """What aiosmtpd hands over."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_mail_goes_over_tls_with_a_password(tls: str, tmp_path: Path, free_port: Callable[[], int]) -> None:
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("server"))
    (tmp_path / "password").write_text("secret")

    def check(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        known = isinstance(data, LoginPassword) and (data.login, data.password) == (b"me", b"secret")
        return AuthResult(success=known, handled=False)

    mailbox, port = Mailbox(), free_port()
    way = {"tls_context": context, "require_starttls": True} if tls == "starttls" else {"ssl_context": context}
    server = Controller(
        mailbox, "127.0.0.1", port, authenticator=check, auth_required=True, auth_require_tls=tls == "starttls", **way
    )
    with contextlib.ExitStack() as stack:
        server.start()
        stack.callback(server.stop)
        channel = Smtp(
            host="127.0.0.1", port=port, tls=tls, sender="edgeward@example.org", recipients=("a@example.org",),
            user="me", password_file=str(tmp_path / "password"), ca=str(authority.path),
        )  # fmt: skip
        mail.deliver(channel, WORD)
        (tmp_path / "password").write_text("wrong")
        with pytest.raises(MonitorError, match="535"):
            mail.deliver(channel, WORD)
    [got] = mailbox.mails
    assert got["Subject"] == "[warning] hot: 1 firing (f/press-7: 85.0 °C (limit 80 °C))"
    assert got["Message-ID"] == "<0123@example.org>"
    assert "85.0 °C" in got.get_content()


def test_a_name_cannot_add_headers_to_a_mail() -> None:
    told = msgspec.structs.replace(WORD.alerts[0], device="d\nBcc: everybody@example.org")
    channel = Smtp(host="h", sender="s@example.org", recipients=("a@example.org",))
    made = mail.compose(channel, msgspec.structs.replace(WORD, alerts=(told,)))
    assert made["Bcc"] is None
    assert "Bcc: everybody" in made["Subject"]


def test_mqtt_tells_under_severity_and_rule(mosquitto: int) -> None:
    heard: list[mqtt.MQTTMessage] = []
    subscribed = threading.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _client, _data, message: heard.append(message)
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect("127.0.0.1", mosquitto)
    client.subscribe("edgeward/alerts/#", qos=1)
    client.loop_start()
    assert subscribed.wait(10)
    with BrokerLink(_config(mosquitto, "sqlite://")) as link:
        wait_for(lambda: "ingest" in (link.state.wrong or ""), "a connection")
        link.deliver(Mqtt(), WORD)
        wait_for(lambda: heard, "the message")
    assert (heard[0].topic, json.loads(heard[0].payload)["id"]) == ("edgeward/alerts/warning/hot", "0123")
    client.disconnect()
    client.loop_stop()


def test_the_link_knows_of_broker_and_ingest(tmp_path: Path, free_port: Callable[[], int]) -> None:
    port = free_port()
    with BrokerLink(_config(port, "sqlite://")) as link:
        assert link.state.wrong == f"the broker mqtt://127.0.0.1:{port} cannot be reached"
        with broker(port, tmp_path):
            wait_for(lambda: link.state.wrong == "ingest is not there: no STATE on the broker", "the broker")
            say_state(port, True, 1)
            wait_for(lambda: link.state.wrong is None, "ingest")
            say_state(port, False, 2)
            wait_for(lambda: link.state.wrong == "ingest is offline", "its end")
            with pytest.raises(MonitorError):
                BrokerLink(_config(free_port(), "sqlite://")).deliver(Mqtt(), WORD)
        wait_for(lambda: "cannot be reached" in (link.state.wrong or ""), "the broker's end")


def test_a_real_broker_that_dies_is_one_alert_and_not_one_for_each_device(
    store: Engine, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """The devices fall silent at the moment in which the broker goes, as devices do."""
    port = free_port()
    rounds = Rounds(store, AlertConfig(mqtt={"all": Mqtt()}))
    with BrokerLink(_config(port, "sqlite://")) as link:
        with broker(port, tmp_path):
            say_state(port, True, 1)
            wait_for(lambda: link.state.wrong is None, "broker and ingest")
            rounds.run(time.time(), link.state)
        wait_for(lambda: link.state.wrong, "the broker's end")
        with writing(store) as connection:
            connection.execute(update(schema.devices).values(last_seen=time.time()))
        for later in (0, 16, 60, 3600):
            rounds.run(time.time() + later, link.state)
    [alert] = queries.alerts(store)
    assert (alert.rule, alert.state, alert.severity) == ("monitor", "firing", "critical")
    assert alert.message == f"the broker mqtt://127.0.0.1:{port} cannot be reached"
    assert len(queries.notifications(store)) == 1


def _config(port: int, url: str, file: Path | None = None) -> MonitorConfig:
    return MonitorConfig(
        broker=BrokerConfig(embedded=False, url=f"mqtt://127.0.0.1:{port}"),
        store=StoreConfig(url=url),
        alerts=AlertsConfig(None if file is None else str(file)),
    )


@contextlib.contextmanager
def _process(config: MonitorConfig) -> Iterator[Any]:
    process = child.start("edgeward.monitor.alerts", msgspec.json.encode(config).decode())
    try:
        yield process
    finally:
        child.kill(process)


@pytest.fixture
def store(tmp_path: Path) -> Engine:
    engine = open_engine(f"sqlite:///{tmp_path / 'monitor.db'}")
    row = {"online": True, "last_seen": time.time() + 1e6, "interval_s": 10.0, "keep_alive_s": 30.0}
    with writing(engine) as connection:
        rows = [{"id": f"f/d{n}", "fleet": "f", "device": f"d{n}", **row} for n in range(3)]
        connection.execute(insert(schema.devices), rows)
    return engine


def _warm(engine: Engine, degrees: float) -> None:
    with writing(engine) as connection:
        connection.execute(update(schema.devices).where(schema.devices.c.device == "d1").values(temperature_c=degrees))


@pytest.mark.slow
def test_killed_at_any_time_the_process_tells_everything_and_repeats_with_one_id(
    store: Engine, tmp_path: Path, mosquitto: int, receiver: Receiver
) -> None:
    file = tmp_path / "alerts.toml"
    file.write_text(
        f'every = 1\ngroup = 0\n[webhook.hook]\nurl = "{receiver.url}"\n'
        '[[alert]]\nkind = "temperature"\nfor = 0\nresolve_after = 0\n'
    )
    say_state(mosquitto, True, 1)
    config = _config(mosquitto, str(store.url), file)
    receiver.answers = [500]
    with _process(config):
        _warm(store, 90.0)
        wait_for(lambda: receiver.taken, "the first attempt")
    with _process(config):  # the first was killed with a notification that nobody took
        wait_for(lambda: len(receiver.taken) == 2, "the second attempt")
        wait_for(lambda: queries.notifications(store)[0].sent_at, "its end")
    with _process(config):
        _warm(store, 20.0)
        wait_for(lambda: len(receiver.taken) == 3, "word of its resolution")
        wait_for(lambda: all(each.sent_at for each in queries.notifications(store)), "its end")
    first, again, resolved = receiver.words
    assert first == again
    assert receiver.taken[0][0]["X-Edgeward-Id"] == first["id"]
    assert (first["firing"], resolved["resolved"], resolved["id"] != first["id"]) == (1, 1, True)
    assert first["alerts"][0]["id"] == resolved["alerts"][0]["id"]


@pytest.fixture
def monitor_url(store: Engine, free_port: Callable[[], int]) -> Iterator[str]:
    """The monitor's REST over the store."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(make_app(store, {}), port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started, "the web server")
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


def test_the_command_line_shows_and_silences(
    store: Engine, monitor_url: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWARD_MONITOR", monitor_url)
    _warm(store, 90.0)
    rule = Temperature(for_=Seconds(0))
    Rounds(store, AlertConfig(alert=(rule,))).run(time.time(), Link(None, 0))
    code, out, _ = cli("fleet", "silence", "f/*", "--for", "2h", "--reason", "moving", "--json")
    made = json.loads(out)["id"]
    assert code == 0
    [held] = json.loads(cli("fleet", "silences", "--json")[1])["silences"]
    assert (held["id"], held["match"], held["reason"]) == (made, "f/*", "moving")
    assert held["until"] == pytest.approx(time.time() + 7200, abs=60)
    [alert] = json.loads(cli("fleet", "alerts", "--json")[1])["alerts"]
    assert (alert["device"], alert["message"], alert["silenced"]) == ("d1", "90.0 °C (limit 80 °C)", True)
    assert "silenced" in cli("fleet", "alerts", "--state", "all")[1]
    assert "moving" in cli("fleet", "silences")[1]
    assert cli("fleet", "silence", "--end", made)[0] == 0
    assert json.loads(cli("fleet", "silences", "--json")[1]) == {"silences": []}
    for words, said in (
        (("silence", "f/*", "--for", "soon"), "'soon' is not a duration"),
        (("silence",), "Say what to silence"),
        (("silence", "--end", "nothing"), "No silence 'nothing' holds now"),
        (("alerts", "--state", "bad"), "--state is firing, pending, resolved or all"),
    ):
        code, _, err = cli("fleet", *words)
        assert code == 2
        assert said in err


def test_the_command_line_lists_devices_and_shows_one(
    monitor_url: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWARD_MONITOR", monitor_url)
    listed = json.loads(cli("fleet", "ls", "--json")[1])["devices"]
    assert sorted(each["id"] for each in listed) == ["f/d0", "f/d1", "f/d2"]
    assert "f/d2" in cli("fleet", "ls", "d2")[1]
    assert json.loads(cli("fleet", "show", "f/d1", "--json")[1])["device"] == "d1"
    assert cli("fleet", "show", "f/d1")[1].startswith("f/d1")
    code, _, err = cli("fleet", "show", "f/nobody")
    assert (code, "No device 'f/nobody' has reported yet" in err) == (2, True)
