"""The agent with TLS and client certificates against a real Mosquitto that requires them; every mistake is named."""

import re
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("cryptography")

from edgeward_runtimes.agent import config as configs
from edgeward_runtimes.agent.config import AgentConfig, broker_address
from edgeward_runtimes.agent.tls import tls_context
from edgeward_runtimes.errors import ConfigError
from edgeward_runtimes.home import Home
from tests.agents import WITHIN_S, Host, broker, running
from tests.certificates import Authority
from tests.conftest import wait_for


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def port(free_port: Callable[[], int], tmp_path: Path, authority: Authority) -> Iterator[int]:
    """A broker that lets in only who shows a certificate of the authority."""
    port = free_port()
    certificate, key = authority.issue("server")
    for path in tmp_path.iterdir():
        path.chmod(0o644)  # mosquitto, when root, becomes a user of its own
    lines = (f"cafile {authority.path}", f"certfile {certificate}", f"keyfile {key}", "require_certificate true")
    with broker(port, tmp_path, "user root", *lines, "use_identity_as_username true"):
        yield port


def _config(port: int, **files: object) -> AgentConfig:
    given = {name: str(path) for name, path in files.items()}
    return AgentConfig(fleet="f", device="d", broker=f"mqtts://127.0.0.1:{port}", interval_s=0.2, **given)


def test_an_agent_with_its_certificate_is_let_in(port: int, tmp_path: Path, authority: Authority) -> None:
    certificate, key = authority.issue("d")
    server = (str(tmp_path / "server.pem"), str(tmp_path / "server.key"))
    context = tls_context(str(authority.path), *server)
    host = Host(port, lambda client: client.tls_set_context(context))
    home = Home.under(tmp_path / "device")
    with running(_config(port, ca=authority.path, certificate=certificate, key=key), home):
        assert host.next("NBIRTH").payload.seq == 0
    assert host.next("NDEATH").qos == 1
    host.close()


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("no certificate", "does it ask for a certificate|certificate required|closed"),
        ("another authority", "certificate verify failed"),
        ("the wrong name", "certificate verify failed.*localhost|Hostname mismatch"),
    ],
)
def test_why_there_is_no_connection_is_said_once(
    port: int, tmp_path: Path, authority: Authority, caplog, what: str, said: str
) -> None:
    certificate, key = authority.issue("d")
    config = {
        "no certificate": _config(port, ca=authority.path),
        "another authority": _config(
            port, ca=Authority(tmp_path, "other").path, certificate=certificate, key=key
        ),
        "the wrong name": AgentConfig(
            fleet="f", device="d", broker=f"mqtts://localhost:{port}", ca=str(authority.path),
            certificate=str(certificate), key=str(key),
        ),
    }[what]  # fmt: skip
    with running(config, Home.under(tmp_path / "device")):
        wait_for(lambda: re.search(said, caplog.text), f"{said}, not {caplog.text}", WITHIN_S)
    assert caplog.text.count("cannot be used, trying again") <= 2


def _toml(folder: Path, **settings: str) -> Path:
    path = folder / "agent.toml"
    path.write_text('fleet = "f"\n' + "".join(f'{name} = "{value}"\n' for name, value in settings.items()))
    return path


def test_files_are_found_beside_the_configuration(tmp_path: Path) -> None:
    path = _toml(tmp_path, broker="mqtts://here", ca="ca.pem", certificate="/etc/d.pem")
    config = configs.read(path)
    assert (config.ca, config.certificate, config.key) == (str(tmp_path / "ca.pem"), "/etc/d.pem", None)
    assert broker_address(config.broker, tls=True).port == 8883


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"broker": "mqtt://here", "ca": "ca.pem"}, "ca but a broker without TLS, mqtt://here: write mqtts://"),
        ({"broker": "mqtts://here", "key": "d.key"}, "a key but no certificate"),
        ({"broker": "https://here", "ca": "ca.pem"}, "not of the form mqtt://host:port or mqtts://host:port"),
    ],
)
def test_settings_that_do_not_fit_together_are_named(tmp_path: Path, settings: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        configs.read(_toml(tmp_path, **settings))


def test_who_cannot_do_tls_does_not_go_without_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mqtts://here' is not of the form mqtt://host:port"):
        broker_address("mqtts://here")


def test_a_password_is_never_shown() -> None:
    assert broker_address("mqtts://me:secret@here", tls=True).shown == "mqtts://here:8883"


def test_files_that_are_wrong_are_named_before_anything_is_tried(tmp_path: Path, authority: Authority) -> None:
    certificate, key = authority.issue("d")
    _, other_key = authority.issue("other")
    _, locked = authority.issue("locked", password=b"secret")
    text = tmp_path / "text.pem"
    text.write_text("no PEM")
    for files, said in (
        ((str(tmp_path / "absent.pem"), None, None), "ca: .*absent.pem cannot be read: No such file"),
        ((str(text), None, None), "ca: .*text.pem holds no certificate in PEM form"),
        ((None, str(certificate), str(tmp_path / "absent.key")), "key: .*absent.key cannot be read"),
        ((None, str(certificate), str(other_key)), "d.pem and .*other.key do not belong together"),
        ((None, str(tmp_path / "locked.pem"), str(locked)), "locked.key is encrypted"),
        ((None, str(text), str(key)), "are not a certificate and its private key in PEM form"),
        ((None, str(certificate), None), "are not a certificate and its private key in PEM form"),
    ):
        with pytest.raises(ConfigError, match=said):
            tls_context(*files)
    context = tls_context(str(authority.path), str(certificate), str(key))
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
