"""Provisioning, step by step: what is there is not sent again, what is installed is not installed again."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from edgeward.provision import agent, facts, wheels
from edgeward.provision.facts import Facts
from edgeward.provision.package import write_wheel
from edgeward_runtimes.commands import edgeward_version
from edgeward_runtimes.errors import DeviceError
from edgeward_targets.device import Device, Progress
from edgeward_targets.transports.sending import describe

_STAMP = "venv/edgeward-wheels.txt"  # what is installed; written last
_FORGET = """
import pathlib, sys
for path in pathlib.Path(sys.argv[1]).iterdir():
    if path.name not in sys.argv[2:]:
        path.unlink()
"""


class Provisioned(Struct, frozen=True):
    """A device that has edgeward: in which environment, with what beside it, and how its agent stands."""

    python: str
    python_version: str
    architecture: str
    edgeward_version: str
    extras: tuple[str, ...]
    sent_bytes: int
    agent: str


def provision(
    device: Device,
    engines: Sequence[str] = (),
    *,
    enrollment: Path | None = None,
    progress: Progress = lambda doing, done: None,
) -> Provisioned:
    """Bring edgeward, its agent and some engines to a device.

    Args:
        device: Where to; it needs Python 3.10 and no internet.
        engines: Those that its models want, e.g. `litert`; a plug-in's is left to whoever made it.
        enrollment: A folder made by `edgeward fleet enroll`.
        progress: Told how far it is.

    Raises:
        ConfigError: When there are no wheels for that device, or the enrollment is none.
        DeviceError: When the device is out of reach, cannot run edgeward, or its disk is full.
    """
    if enrollment is not None:
        agent.check_enrollment(enrollment)
    progress("asking what it is", 0)
    found = facts.ask(device)
    extras = _extras(engines, enrollment)
    python = f"{device.transport.place.home}/venv/bin/python"
    with tempfile.TemporaryDirectory() as folder:
        progress("finding its wheels", 0)
        needed = wheels.fetch(found, write_wheel(Path(folder)), extras)
        stamp = _write_stamp(Path(folder), needed, extras)
        sent = 0
        if device.transport.stat(_STAMP) != describe(stamp):
            sent = _send(device, needed, progress)
            progress("installing", 1)
            _install(device, found, python, needed)
            device.transport.put(stamp, _STAMP)
    if enrollment is not None:
        sent += agent.enroll(device, enrollment)
    progress("starting the agent", 1)
    return Provisioned(
        python=python,
        python_version=".".join(map(str, found.python_version)),
        architecture=found.architecture,
        edgeward_version=edgeward_version(),
        extras=extras,
        sent_bytes=sent,
        agent=agent.start(device, found, python),
    )


def _extras(engines: Sequence[str], enrollment: Path | None) -> tuple[str, ...]:
    """What is installed beside the agent: engines, and what reads a signed registry where one is trusted."""
    extras = [wheels.EXTRA_OF_ENGINE[name] for name in engines if name in wheels.EXTRA_OF_ENGINE]
    trusts = enrollment is not None and (enrollment / "trust" / "root.json").is_file()
    return (*extras, "update") if trusts else tuple(extras)


def _write_stamp(folder: Path, needed: Sequence[Path], extras: Sequence[str]) -> Path:
    path = folder / "stamp"
    lines = [wheels.requirement(extras), *(f"{wheel.name} {describe(wheel).sha256}" for wheel in needed)]
    path.write_text("\n".join([*lines, ""]))
    return path


def _send(device: Device, needed: Sequence[Path], progress: Progress) -> int:
    total = sum(wheel.stat().st_size for wheel in needed)
    before = sent = 0
    for wheel in needed:

        def tell(there: int, _: int, before: int = before) -> None:
            progress("sending", (before + there) / total)

        sent += device.transport.put(wheel, f"wheels/{wheel.name}", tell)
        before += wheel.stat().st_size
    return sent


def _install(device: Device, found: Facts, python: str, needed: Sequence[Path]) -> None:
    """Make the environment and install into it exactly the wheels that were sent; nothing comes from a network."""
    home = device.transport.place.home
    _run(device, [found.python, "-m", "venv", "--without-pip", f"{home}/venv"])
    *others, own = (f"{home}/wheels/{wheel.name}" for wheel in needed)
    pip = next(path for path in others if "/pip-" in path)
    install = [python, f"{pip}/pip", "install", "--quiet", "--no-index", "--no-deps", "--no-cache-dir"]
    install += ["--disable-pip-version-check", "--root-user-action=ignore", "--ignore-requires-python"]
    _run(device, [*install, *others])
    _run(device, [*install, "--force-reinstall", own])  # edgeward itself: the same version may have other content
    _run(device, [python, "-c", _FORGET, f"{home}/wheels", *(wheel.name for wheel in needed)])


def _run(device: Device, command: list[str]) -> None:
    completed = device.transport.run(command)
    if completed.exit_code != 0:
        said = (completed.stderr or completed.stdout).decode(errors="replace").strip().splitlines()
        raise DeviceError(f"{device.url}: edgeward could not be installed: {' '.join(said[-3:]) or 'it said nothing'}")
