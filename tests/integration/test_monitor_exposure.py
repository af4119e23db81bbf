"""A monitor beyond loopback: refused until it has a token and TLS, and then for who has the token alone."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from edgeward.monitor import database
from edgeward.monitor.access import tokens
from tests.certificates import Authority
from tests.conftest import wait_for


def _start(config: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "edgeward", "monitor", "--config", str(config)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.fixture
def write_config(tmp_path: Path, free_port: Callable[[], int]) -> Callable[..., tuple[Path, int]]:
    """Write a monitor.toml with these lines in [http]; gives it and the port."""

    def write(*http: str) -> tuple[Path, int]:
        port, config = free_port(), tmp_path / "monitor.toml"
        lines = [
            f'store = {{url = "sqlite:///{tmp_path / "monitor.db"}"}}',
            f'broker = {{url = "mqtt://127.0.0.1:{free_port()}"}}',
            "[http]",
            f"port = {port}",
            'host = "0.0.0.0"',
            *http,
        ]
        config.write_text("\n".join(lines))
        return config, port

    return write


def test_a_monitor_does_not_start_beyond_loopback_without_token_and_tls(write_config) -> None:
    config, port = write_config()
    with _start(config) as monitor:
        _, said = monitor.communicate(timeout=60)
    assert monitor.returncode == 2
    assert said.startswith(b"error: The monitor would listen on 0.0.0.0, beyond this machine, for whoever comes.")
    assert b"edgeward fleet token create" in said
    assert b"certificate" in said
    assert said.count(b"\n") == 1
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/healthz")


def test_with_both_it_serves_over_tls_who_has_the_token(write_config, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("monitor")
    token = tokens.create(database.open_engine(f"sqlite:///{tmp_path / 'monitor.db'}"), "ada", "viewer", by="test")
    config, port = write_config(f'certificate = "{certificate.name}"', f'key = "{key.name}"')
    with (
        _start(config) as monitor,
        httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=str(authority.path)) as web,
    ):
        try:
            wait_for(lambda: _answers(web), "the monitor to answer", within_s=60)
            assert web.get("/api/devices").status_code == 401
            assert web.get("/api/devices", headers={"Authorization": f"Bearer {token}"}).json() == []
            with pytest.raises(httpx.HTTPError):
                httpx.get(f"http://127.0.0.1:{port}/healthz")
        finally:
            monitor.terminate()


def _answers(web: httpx.Client) -> bool:
    try:
        return web.get("/healthz").is_success
    except httpx.HTTPError:
        return False
