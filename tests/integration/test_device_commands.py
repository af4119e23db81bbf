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


def test_what_was_sent_but_never_installed_goes_after_a_week(multiply_bundle: Make, home: Home) -> None:
    incoming = home.root / "incoming"
    incoming.mkdir(parents=True)
    for name in ("old.edge.0123.part", "new.edge.0123.part"):
        (incoming / name).write_bytes(b"half")
    os.utime(incoming / "old.edge.0123.part", (0, 0))
    _run("install", str(multiply_bundle()))
    assert [path.name for path in incoming.iterdir()] == ["new.edge.0123.part"]


def test_a_held_release_is_one_that_is_current_and_whole(multiply_bundle: Make, home: Home) -> None:
    release = json.loads(_run("install", str(multiply_bundle())).stdout)["release"]
    assert json.loads(_run("held", "toy", release).stdout)["installed"]["release"] == release
    assert json.loads(_run("held", "toy", "2.0.0-00000000").stdout)["installed"] is None
    assert json.loads(_run("held", "gone", release).stdout)["installed"] is None
    next((home.models / "toy" / "current" / "variants").iterdir()).write_bytes(b"cut")
    assert json.loads(_run("held", "toy", release).stdout)["installed"] is None


def test_the_journal_tells_what_was_done_and_why(multiply_bundle: Make, home: Home) -> None:
    good, bad = multiply_bundle("1.0.0"), multiply_bundle("1.1.0", variants={"multiply-wrong": {"factor": 9.0}})
    _run("install", str(good), "--health=1h")
    _run("install", str(bad))
    told = json.loads(_run("journal", "toy").stdout)["changes"]
    assert [(each["action"], each["outcome"]) for each in told] == [("install", "done"), ("install", "failed")]
    assert "does not work on this device" in told[1]["reason"]
    refused = _run("install", str(good), "--health=soon")
    assert refused.returncode == 2
    assert "is written like 10m" in refused.stderr
    assert "make 2" in _run("install", str(good), "--keep=1").stderr
