"""`python -m edgeward_runtimes`: one line of JSON, or one line that says what is wrong; never a traceback."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeward_runtimes.home import Home
from edgeward_targets.device import Device

Make = Callable[..., Path]


def _run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "edgeward_runtimes", *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def test_an_answer_is_one_line_of_json(multiply_bundle: Make, home: Home) -> None:
    installed = json.loads(_run("install", str(multiply_bundle())).stdout)
    assert installed["name"] == "toy"
    status = json.loads(_run("status").stdout)
    assert [model["release"] for model in status["models"]] == [installed["release"]]


@pytest.mark.parametrize(
    ("arguments", "root", "message"),
    [
        (("rollback", "toy"), "/dev/null/x", "No model 'toy' is installed"),
        (("rollback", "x" * 300), None, "is not a model's name"),
        (("install", "/nowhere.edge"), None, "cannot be read"),
        (("examine", "/etc/hostname"), None, "is not a bundle"),
        (("agent", "--config", "/nowhere.toml"), None, "cannot be read"),
        (("agent", "--config", "{config}"), "/dev/null/x", "Not a directory"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(arguments, root, message, home: Home, tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text('fleet = "f"\n')
    places = {"EDGEWARD_HOME": root, "EDGEWARD_RUN": f"{root}/run"} if root else {}
    completed = _run(*(argument.format(config=config) for argument in arguments), **places)
    assert completed.returncode == 2
    assert completed.stdout == ""
    assert message in completed.stderr
    assert len(completed.stderr.strip().splitlines()) == 1


def test_modules_in_the_working_directory_are_not_run(multiply_bundle: Make, tmp_path: Path, monkeypatch) -> None:
    trap = tmp_path / "shared"
    trap.mkdir()
    for module in ("msgspec", "numpy", "json"):
        (trap / f"{module}.py").write_text("raise SystemExit('this ran')")
    monkeypatch.chdir(trap)
    device = Device(f"local:{tmp_path / 'device'}")
    assert device.install(multiply_bundle()).name == "toy"
    assert device.status().models[0].name == "toy"
