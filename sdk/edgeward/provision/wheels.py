"""The wheels that a device needs, resolved and fetched on this machine for that device's Python and platform.

uv resolves, as pip would judge what depends on the Python version by the one that runs here; pip fetches exactly what
uv found, checked by its digests. A package that says it is for no newer Python is taken all the same, as uv holds it
(backports of what newer ones have say so). What was fetched stays in `~/.cache/edgeward/wheels`.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from edgeward.provision.facts import Facts
from edgeward_runtimes.durable import make_folder, write_atomically
from edgeward_runtimes.errors import ConfigError

EXTRA_OF_ENGINE = {"litert": "litert", "onnxruntime": "onnx", "openvino": "openvino"}
_UV_GLIBC = (40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 28, 17)  # the versions that uv has a platform for
_OLDEST_MANYLINUX = 5
_fetching = threading.Lock()


def requirement(extras: Sequence[str]) -> str:
    """What is to be installed: edgeward with the agent and some engines."""
    return f"edgeward[{','.join(sorted({'agent', *extras}))}]"


def fetch(facts: Facts, own_wheel: Path, extras: Sequence[str]) -> list[Path]:
    """Give all wheels for a device, `own_wheel` and pip's own among them.

    Raises:
        ConfigError: When there is no set of wheels for that device, or the package index is out of reach.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "edgeward" / "wheels"
    major, minor = facts.python_version
    folder = cache / f"cp{major}{minor}-{facts.architecture}-glibc{facts.glibc_minor}"
    wanted = f"{requirement(extras)} @ {own_wheel.as_uri()}\npip\n"
    with _fetching:  # many devices of one kind are provisioned at once, and want the same
        pins = _resolved(facts, wanted)
        make_folder(folder)
        _download(facts, folder, pins)
    names = {line.partition("==")[0].replace("-", "_").lower(): line for line in _pinned(pins)}
    found = [path for path in sorted(folder.glob("*.whl")) if _is_of(path, names)]
    if len(found) != len(names):
        raise ConfigError(f"{folder} lacks some of {', '.join(names.values())}. Remove that folder and try again.")
    return [*found, own_wheel]


def _resolved(facts: Facts, wanted: str) -> str:
    """The requirements as exact versions with digests."""
    major, minor = facts.python_version
    known = next(glibc for glibc in _UV_GLIBC if glibc <= max(facts.glibc_minor, _UV_GLIBC[-1]))
    command = [sys.executable, "-m", "uv", "pip", "compile", "-", "--quiet", "--no-config", "--no-header"]
    command += ["--no-annotate", "--generate-hashes", "--only-binary=:all:", "--no-emit-package=edgeward"]
    command += [f"--python-version={major}.{minor}", f"--python-platform={facts.architecture}-manylinux_2_{known}"]
    return _said(command, wanted, f"wheels for Python {major}.{minor} on {facts.architecture}")


def _download(facts: Facts, folder: Path, pins: str) -> None:
    write_atomically(folder / "requirements.txt", pins.encode())
    major, minor = facts.python_version
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
    ]
    command += ["--ignore-requires-python", "--dest", str(folder), "--requirement", str(folder / "requirements.txt")]
    command += ["--implementation=cp", f"--python-version={major}.{minor}"]
    command += [f"--platform={platform}" for platform in platforms(facts)]
    _said(command, "", f"wheels for Python {major}.{minor} on {facts.architecture}")


def platforms(facts: Facts) -> list[str]:
    """The platform tags that a device takes, the newest first (PEP 600)."""
    tags = [f"manylinux_2_{minor}" for minor in range(facts.glibc_minor, _OLDEST_MANYLINUX - 1, -1)]
    tags += ["manylinux2014", "manylinux2010", "manylinux1", "linux"]
    return [f"{tag}_{facts.architecture}" for tag in tags]


def _pinned(pins: str) -> list[str]:
    return [line.split()[0] for line in pins.splitlines() if "==" in line and not line.startswith((" ", "#"))]


def _is_of(wheel: Path, pins: dict[str, str]) -> bool:
    """Whether a wheel is the pinned version of something."""
    name, version = wheel.name.split("-")[:2]
    return pins.get(name.lower(), "").partition("==")[2] == version


def _said(command: list[str], given: str, what: str) -> str:
    completed = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if completed.returncode != 0:
        lines = [line for line in completed.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        said = " ".join(" ".join(lines[-6:] or ["it said nothing"]).split())
        hint = " pip install 'edgeward[flash]'" if "No module named" in said else ""
        raise ConfigError(f"There are no {what}: {said}.{hint}")
    return completed.stdout
