"""How the agent is made to run on a device: what is asked of systemd there, or said when it cannot be asked."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from edgeward.provision import agent
from edgeward.provision.facts import Facts
from edgeward_runtimes.errors import ConfigError, DeviceError
from edgeward_targets.device import Device
from edgeward_targets.transports import Completed
from edgeward_targets.transports.local import LocalTransport

PYTHON = "/home/pi/venv/bin/python"


class NoSystemdHere(LocalTransport):
    """A device in a folder; what its system would be asked is taken down and not done, as there is no systemd here."""

    def __init__(self, folder: Path, refuses: str = "") -> None:
        super().__init__(folder)
        self.asked: list[str] = []
        self._refuses = refuses

    def run(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Completed:
        self.asked.append(" ".join(command))
        if self._refuses and self._refuses in self.asked[-1]:
            return Completed(1, b"", b"Failed to connect to bus\n")
        return Completed(0, b'"[Unit]\\n"\n', b"")


def _device(tmp_path: Path, refuses: str = "") -> tuple[Device, NoSystemdHere]:
    transport = NoSystemdHere(tmp_path / "device", refuses)
    return Device(f"local:{tmp_path / 'device'}", transport), transport


def _facts(**changed: object) -> Facts:
    known = {"is_root": True, "has_systemd": True, **changed}
    return Facts("/usr/bin/python3", (3, 11), "aarch64", "glibc", "2.36", True, **known)  # type: ignore[arg-type]


@pytest.fixture
def enrollment(tmp_path: Path) -> Path:
    folder = tmp_path / "press-7"
    (folder / "trust").mkdir(parents=True)
    for name in ("agent.toml", "device.key", "trust/root.json"):
        (folder / name).write_text(name)
    return folder


def test_an_enrollment_is_put_there_whole_and_the_service_started(tmp_path: Path, enrollment: Path) -> None:
    device, transport = _device(tmp_path)
    agent.enroll(device, enrollment)
    there = tmp_path / "device"
    assert (there / "trust/root.json").read_text() == "trust/root.json"
    assert (there / "device.key").stat().st_mode & 0o777 == 0o600
    assert agent.start(device, _facts(), PYTHON) == "runs as edgeward-agent.service"
    assert (there / "edgeward-agent.service").read_text() == "[Unit]\n"
    assert transport.asked == [
        f"{PYTHON} -m edgeward_runtimes agent --config {there}/agent.toml --print-unit",
        f"install -m 644 {there}/edgeward-agent.service /etc/systemd/system/edgeward-agent.service",
        "systemctl daemon-reload",
        "systemctl enable --quiet edgeward-agent.service",
        "systemctl restart edgeward-agent.service",
    ]


def test_another_user_than_root_asks_through_sudo_or_is_told_what_to_run(tmp_path: Path, enrollment: Path) -> None:
    device, transport = _device(tmp_path)
    agent.enroll(device, enrollment)
    assert agent.start(device, _facts(is_root=False), PYTHON) == "runs as edgeward-agent.service"
    assert transport.asked[-1] == "sudo -n systemctl restart edgeward-agent.service"
    device, transport = _device(tmp_path, refuses="sudo -n true")
    told = agent.start(device, _facts(is_root=False), PYTHON)
    assert "to start it, run there: sudo install -m 644" in told
    assert told.endswith("sudo systemctl restart edgeward-agent.service")


def test_what_systemd_refuses_is_a_device_error(tmp_path: Path, enrollment: Path) -> None:
    device, _ = _device(tmp_path, refuses="enable")
    agent.enroll(device, enrollment)
    with pytest.raises(DeviceError, match="Failed to connect to bus"):
        agent.start(device, _facts(), PYTHON)


def test_without_systemd_or_enrollment_the_next_step_is_said(tmp_path: Path, enrollment: Path) -> None:
    device, _ = _device(tmp_path)
    assert "edgeward fleet enroll" in agent.start(device, _facts(), PYTHON)
    agent.enroll(device, enrollment)
    told = agent.start(device, _facts(has_systemd=False), PYTHON)
    assert told.endswith(f"{PYTHON} -m edgeward_runtimes.agent --config {tmp_path}/device/agent.toml")


def test_a_folder_that_is_no_enrollment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="edgeward fleet enroll DEVICE -o"):
        agent.check_enrollment(tmp_path)
