"""The agent on a device: its enrollment's files put there, and its systemd unit where systemd runs."""

import tempfile
from pathlib import Path

import msgspec

from edgeward.provision.facts import Facts
from edgeward_runtimes.errors import ConfigError, DeviceError
from edgeward_targets.device import Device
from edgeward_targets.transports import Completed

CONFIG = "agent.toml"
_UNIT = "edgeward-agent.service"
_UNIT_FOLDER = "/etc/systemd/system"


def check_enrollment(folder: Path) -> None:
    """Raises ConfigError unless the folder is what `edgeward fleet enroll` made."""
    if not (folder / CONFIG).is_file():
        raise ConfigError(f"{folder} holds no {CONFIG}. Make it with: edgeward fleet enroll DEVICE -o {folder}")


def enroll(device: Device, folder: Path) -> int:
    """Put an enrollment there, readable by its owner alone; return the bytes that travelled."""
    check_enrollment(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    settings_last = sorted(files, key=lambda path: path.name == CONFIG)  # an agent that starts finds all it names
    return sum(device.transport.put(path, path.relative_to(folder).as_posix()) for path in settings_last)


def start(device: Device, facts: Facts, python: str) -> str:
    """Have the agent run at every start of the device; say how it stands, or what is left to do by hand.

    Raises DeviceError when systemd does not take the unit.
    """
    place = device.transport.place
    config = f"{place.home}/{CONFIG}"
    if device.transport.stat(CONFIG) is None:
        return f"not enrolled: edgeward fleet enroll DEVICE -o DIR, then edgeward provision {device.url} --enroll DIR"
    by_hand = f"{python} -m edgeward_runtimes.agent --config {config}"
    if not facts.has_systemd:
        return f"no systemd there: have it run {by_hand}"
    _put_unit(device, python, config)
    unit, system = f"{place.home}/{_UNIT}", f"{_UNIT_FOLDER}/{_UNIT}"
    commands = [
        ["install", "-m", "644", unit, system],
        ["systemctl", "daemon-reload"],
        ["systemctl", "enable", "--quiet", _UNIT],
        ["systemctl", "restart", _UNIT],
    ]
    sudo = [] if facts.is_root else ["sudo", "-n"]
    if sudo and device.transport.run([*sudo, "true"]).exit_code != 0:
        steps = " && ".join(f"sudo {' '.join(command)}" for command in commands)
        return f"its unit is at {unit}; to start it, run there: {steps}"
    for command in commands:
        _checked(device, device.transport.run([*sudo, *command]))
    return f"runs as {_UNIT}"


def _put_unit(device: Device, python: str, config: str) -> None:
    command = [python, "-m", "edgeward_runtimes", "agent", "--config", config, "--print-unit"]
    environment = {"EDGEWARD_HOME": device.transport.place.home, **device.transport.place.environment}
    completed = _checked(device, device.transport.run(command, environment))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / _UNIT
        path.write_text(msgspec.json.decode(completed.stdout, type=str))
        device.transport.put(path, _UNIT)


def _checked(device: Device, completed: Completed) -> Completed:
    if completed.exit_code != 0:
        lines = completed.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise DeviceError(f"{device.url}: the agent could not be set up: {lines[-1]}")
    return completed
