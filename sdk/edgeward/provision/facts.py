"""What a device is, told by its own Python."""

import msgspec
from msgspec import Struct

from edgeward_runtimes.errors import DeviceError
from edgeward_targets.device import Device

_OLDEST = (3, 10)
_ARCHITECTURES = ("x86_64", "aarch64")

_PROBE = """
import importlib.util, json, os, platform, sys
libc, version = platform.libc_ver()
print(json.dumps({
    "python": getattr(sys, "_base_executable", None) or sys.executable,
    "python_version": list(sys.version_info[:2]),
    "architecture": platform.machine(),
    "libc": libc,
    "libc_version": version,
    "has_venv": importlib.util.find_spec("venv") is not None,
    "is_root": os.geteuid() == 0,
    "has_systemd": os.path.isdir("/run/systemd/system"),
}))
"""


class Facts(Struct, frozen=True):
    """A device, as far as it decides which wheels it can take; `python` is the one that makes environments."""

    python: str
    python_version: tuple[int, int]
    architecture: str
    libc: str
    libc_version: str
    has_venv: bool
    is_root: bool
    has_systemd: bool

    @property
    def glibc_minor(self) -> int:
        """36 for glibc 2.36."""
        return int(self.libc_version.split(".")[1])


def ask(device: Device) -> Facts:
    """Ask a device. Raises DeviceError when it cannot run edgeward, and says what it would need."""
    completed = device.transport.run([device.transport.place.python, "-c", _PROBE])
    if completed.exit_code != 0:
        raise DeviceError(
            f"{device.url} has no Python that runs: {_last_line(completed.stderr)}. Install Python 3.10 or later there "
            "(apt-get install python3), or name one: ?python=PROGRAM"
        )
    facts = msgspec.json.decode(completed.stdout, type=Facts)
    problem = _problem(facts)
    if problem is not None:
        raise DeviceError(f"{device.url} {problem}")
    return facts


def _problem(facts: Facts) -> str | None:
    """Why edgeward cannot run there."""
    major, minor = facts.python_version
    if facts.python_version < _OLDEST:
        return f"has Python {major}.{minor}, edgeward needs 3.10 or later. Name another: ?python=PROGRAM"
    if facts.libc != "glibc" or facts.architecture not in _ARCHITECTURES:
        return (
            f"is {facts.architecture} with {facts.libc or 'an unknown C library'}; there are wheels of the engines "
            "for glibc on x86_64 and aarch64 alone. Install edgeward there by hand."
        )
    if not facts.has_venv:
        return "cannot make Python environments: apt-get install python3-venv"
    return None


def _last_line(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
