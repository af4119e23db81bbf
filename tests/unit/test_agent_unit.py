"""The systemd unit: systemd itself finds nothing wrong with it, and little that it leaves exposed."""

import configparser
import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeward_runtimes.agent import notify
from edgeward_runtimes.agent.unit import unit
from edgeward_runtimes.errors import ConfigError
from edgeward_runtimes.home import Home
from tests.conftest import Cli

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
_WRITTEN_FOR = [252, 254]


@pytest.fixture
def home() -> Iterator[Home]:
    """A device that is not under /tmp, where a checkout may be."""
    with tempfile.TemporaryDirectory(dir=Path.home(), prefix=".edgeward-test-") as folder:
        home = Home(Path(folder) / "home of 100% of it", Path(folder) / "run")
        home.root.mkdir()
        yield home


def _settings(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def _analyze(text: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = folder / "edgeward-agent.service"
    path.write_text(text)
    command = ["systemd-analyze", *words, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"})


@needs_systemd
def test_systemd_finds_nothing_wrong(home: Home, tmp_path: Path) -> None:
    done = _analyze(unit(tmp_path / "agent.toml", home), tmp_path, "verify", "--man=no")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_systemd_finds_a_mistake_where_there_is_one(home: Home, tmp_path: Path) -> None:
    text = unit(tmp_path / "agent.toml", home).replace("ProtectSystem=strict", "ProtectSystem=perhaps")
    assert "protect system" in _analyze(text, tmp_path, "verify", "--man=no").stderr.lower()


@needs_systemd
def test_systemd_calls_its_exposure_low(home: Home, tmp_path: Path) -> None:
    done = _analyze(unit(tmp_path / "agent.toml", home), tmp_path, "security", "--offline=true", "--no-pager")
    level = re.search(r"Overall exposure level for edgeward-agent.service: ([0-9.]+)", done.stdout)
    assert level is not None, done.stdout + done.stderr
    assert float(level[1]) <= 2.5, done.stdout


@pytest.mark.parametrize("version", _WRITTEN_FOR)
def test_it_may_write_its_two_folders_and_comes_back_whatever_ends_it(home: Home, version: int) -> None:
    settings = _settings(unit(Path("/etc/edgeward/agent.toml"), home, version))
    doubled = str(home.root).replace("%", "%%")
    assert settings["ReadWritePaths"] == [f'"{doubled}" {home.run}']
    assert settings["User"] == [pwd.getpwuid(os.geteuid()).pw_name]
    for name, value in {
        "ProtectSystem": "strict", "NoNewPrivileges": "yes", "PrivateTmp": "yes", "Restart": "always",
        "StartLimitIntervalSec": "0", "MemoryMax": "1G", "CapabilityBoundingSet": "", "Type": "notify",
        "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    }.items():  # fmt: skip
        assert settings[name] == [value], name
    assert ("RestartMaxDelaySec" in settings) == (version >= 254)
    assert float(settings["WatchdogSec"][0]) > 10 * notify.EVERY_S
    configparser.ConfigParser(strict=False, allow_no_value=True, interpolation=None).read_string(unit(Path("/a"), home))


def test_a_folder_under_run_is_made_at_every_boot(home: Home) -> None:
    settings = _settings(unit(Path("/a"), Home(home.root, Path("/run/edgeward"))))
    assert settings["RuntimeDirectory"] == ["edgeward"]
    assert settings["RuntimeDirectoryPreserve"] == ["yes"]


def test_a_device_under_tmp_would_not_be_seen(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="/tmp/x is in a folder for temporary files"):
        unit(Path("/a"), Home.under(Path("/tmp/x")))


def test_the_command_prints_it_and_does_nothing_else(
    cli: Cli, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in home.environment.items():
        monkeypatch.setenv(name, value)
    config = tmp_path / "agent.toml"
    config.write_text('fleet = "f"\n')
    code, out, _ = cli("agent", "--config", config, "--print-unit")
    assert (code, out) == (0, unit(config, home))
    assert list(home.root.iterdir()) == []
    config.write_text('fleet = "f"\nhost = 1\n')
    code, out, err = cli("agent", "--config", config, "--print-unit")
    assert (code, out) == (2, "")
    assert "unknown field `host`" in err


def test_a_supervisor_hears_that_the_agent_is_ready_alive_and_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        supervisor.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setattr(notify, "_last", float("-inf"))
        for say in (notify.ready, notify.alive, notify.alive, notify.stopping):
            say()
        heard = [supervisor.recv(100) for _ in range(3)]
        assert heard == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]
    notify.stopping()  # nobody listens any more
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify.ready()
