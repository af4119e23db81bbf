"""Environments of their own for tests, beside ours: what they need fits no other, or must not be seen by it.

Made once, kept under build/ by what is in them, and skipped by name where pip cannot have it.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY


def python_with(name: str, packages: Sequence[str]) -> Path:
    """The Python of a virtual environment with these packages and those that they need."""
    folder = _folder(name)
    python = folder / "bin" / "python"
    if not _is_done(folder):
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True, capture_output=True)
        _install(python, packages, folder)
    return python


def packages_apart(name: str, packages: Sequence[str]) -> Path:
    """A folder with these packages alone, for sys.path: what else they need is there already."""
    folder = _folder(name)
    if not _is_done(folder):
        _install(sys.executable, ["--no-deps", "--upgrade", "--target", str(folder), *packages], folder)
    return folder


def _folder(name: str) -> Path:
    return REPOSITORY / "build" / f"{name}-{sys.version_info.major}.{sys.version_info.minor}"


def _is_done(folder: Path) -> bool:
    return (folder / "installed").exists()


def _install(python: Path | str, arguments: Sequence[str], folder: Path) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    installing = subprocess.run(command, capture_output=True, text=True, check=False)
    if installing.returncode != 0:
        reason = "".join(installing.stderr.strip().splitlines()[-1:])
        pytest.skip(f"pip cannot install {' '.join(arguments)} for this Python: {reason}")
    (folder / "installed").touch()
