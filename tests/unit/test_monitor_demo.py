"""The demo says what is wrong before it trains, and a fleet that reports too little is its own error and no other's."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from edgeward.cli import app
from edgeward.demo import workflow
from edgeward.demo.devices import Predicted


@pytest.mark.parametrize("port", ["70000", "-1"])
def test_a_port_that_does_not_exist_is_refused_at_once(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "_convert", lambda place: pytest.fail("it trained first"))
    result = CliRunner().invoke(app, ["demo", "--once", "--port", port])
    assert result.exit_code == 2
    assert "--port" in result.output


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    result = CliRunner().invoke(app, ["demo", "--once", "--folder", str(file)])
    assert result.exit_code == 2


def test_a_device_that_reports_no_model_counts_as_nothing_reported() -> None:
    conversion = SimpleNamespace(report=SimpleNamespace(variants=()))
    shown = [{"id": "demo/device-1", "device": "device-1", "online": True, "models": []}]
    made = {"device-1": Predicted(450, 440, "litert-int8")}
    outcome = workflow._outcome(conversion, made, shown, time.monotonic())  # type: ignore[arg-type]
    assert (outcome.predictions_made, outcome.predictions_reported) == (450, 0)
    assert outcome.devices[0].release is None
    workflow._show(outcome)
