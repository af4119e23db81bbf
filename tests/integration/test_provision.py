"""Bringing edgeward to a device that has Python and nothing else, through a real OpenSSH server."""

import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest

from edgeward.provision import steps
from edgeward.provision.facts import Facts
from edgeward.provision.package import write_wheel
from edgeward.provision.wheels import platforms
from edgeward_runtimes.errors import ConfigError, DeviceError
from edgeward_targets.device import Device
from tests.conftest import Cli, free_port
from tests.sshd import Sshd, running_sshd

Make = Callable[..., Path]
NO_NETWORK = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "PIP_NO_INDEX": "1"}


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory, plugin: Path) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("sshd"), free_port(), PYTHONPATH=str(plugin), **NO_NETWORK) as server:
        yield server


@pytest.fixture
def enrollment(tmp_path: Path) -> Path:
    folder = tmp_path / "enrolled"
    folder.mkdir()
    (folder / "press-7.key").write_text("not for others")
    (folder / "press-7.key").chmod(0o644)
    (folder / "agent.toml").write_text('fleet = "factory"\ndevice = "press-7"\n')
    return folder


@pytest.mark.slow
def test_an_empty_home_gets_edgeward_its_agent_and_a_model(
    sshd: Sshd, multiply_bundle: Make, cli: Cli, enrollment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_wheel = write_wheel(tmp_path)  # of a checkout that may be edited while this runs
    monkeypatch.setattr(steps, "write_wheel", lambda folder: own_wheel)
    home = tmp_path / "an empty home"
    url = sshd.url(home)
    code, out, err = cli("provision", url, "--engine", "multiply", "--enroll", enrollment, "--json")
    assert code == 0, err
    first = json.loads(out)
    assert first["python"] == f"{home}/venv/bin/python"
    assert first["sent_bytes"] > 5_000_000
    assert "edgeward_runtimes.agent --config" in first["agent"]
    assert (home / "press-7.key").stat().st_mode & 0o777 == 0o600
    code, out, err = cli("flash", multiply_bundle(), url, "--json")  # by the environment that was made there
    assert code == 0, err
    with Device(url) as device:
        status = device.status()
        assert [model.name for model in status.models] == ["toy"]
        assert status.edgeward_version == first["edgeward_version"]
        completed = device.transport.run([first["python"], "-c", "import edgeward_runtimes as e; print(e.__file__)"])
        assert completed.stdout.decode().startswith(str(home))
    assert json.loads(cli("provision", url, "--engine", "multiply", "--json")[1])["sent_bytes"] == 0


def test_an_enrollment_that_is_none_is_refused_before_anything_is_sent(sshd: Sshd, cli: Cli, tmp_path: Path) -> None:
    home = tmp_path / "device"
    code, _, err = cli("provision", sshd.url(home), "--enroll", tmp_path)
    assert code == 2
    assert "edgeward fleet enroll" in err
    assert not home.exists()


def test_a_device_without_python_says_what_it_needs(sshd: Sshd, cli: Cli, tmp_path: Path) -> None:
    code, _, err = cli("provision", sshd.url(tmp_path, python="/nowhere/python3"))
    assert code == 2
    assert "Install Python 3.10 or later" in err


def test_the_wheel_of_this_edgeward_is_one_that_installers_take_and_always_the_same(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    first, second = map(write_wheel, folders)
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as wheel:
        names = wheel.namelist()
        wheel.extractall(tmp_path / "unpacked")
    installed: Distribution = PathDistribution(next((tmp_path / "unpacked").glob("*.dist-info")))
    assert {file.as_posix() for file in installed.files or ()} == set(names)
    assert "edgeward_targets/profiles/raspberrypi4.toml" in names
    assert installed.metadata["Name"] == "edgeward"


def test_platforms_are_those_that_the_c_library_takes() -> None:
    facts = Facts("/usr/bin/python3", (3, 11), "aarch64", "glibc", "2.36", True, False, True)
    tags = platforms(facts)
    assert tags[0] == "manylinux_2_36_aarch64"
    assert "manylinux_2_37_aarch64" not in tags
    assert {"manylinux2014_aarch64", "linux_aarch64"} <= set(tags)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"python_version": (3, 9)}, "edgeward needs 3.10"),
        ({"libc": "musl"}, "for glibc on x86_64 and aarch64 alone"),
        ({"architecture": "armv7l"}, "is armv7l"),
        ({"has_venv": False}, "apt-get install python3-venv"),
    ],
)
def test_a_device_that_cannot_run_edgeward_is_told_why(changed: dict, said: str, tmp_path: Path) -> None:
    facts = {
        "python": sys.executable,
        "python_version": (3, 11),
        "architecture": "aarch64",
        "libc": "glibc",
        "libc_version": "2.36",
        "has_venv": True,
        "is_root": False,
        "has_systemd": False,
        **changed,
    }
    from edgeward.provision import facts as asking

    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(facts)}\nEND\n")
    program.chmod(0o755)
    device = Device(f"local:{tmp_path / 'device'}")
    device.transport.place = type(device.transport.place)(str(tmp_path / "device"), str(program))  # type: ignore[misc]
    with pytest.raises((DeviceError, ConfigError), match=said):
        asking.ask(device)
