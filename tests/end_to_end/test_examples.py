"""Every example runs as its README says."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY


def _run(script: str, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EDGEWARD_")}
    command = [sys.executable, str(REPOSITORY / "examples" / script), *arguments]
    completed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr[-2000:]
    return completed.stdout


def test_the_first_bundle_is_converted_installed_and_asked(tmp_path: Path) -> None:
    lines = _run("first_bundle/first_bundle.py", str(tmp_path)).splitlines()
    assert lines[0].startswith("source model: accuracy 0.9")
    assert len([line for line in lines if line.startswith("  ")]) == 6
    assert any("predicted 450 digits" in line for line in lines)
    assert (tmp_path / "digits.edge").exists()
