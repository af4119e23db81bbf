"""From an application's inputs to training data on the host: `edgeward capture` and `edgeward fleet capture`."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from edgeward.cli import capturing
from edgeward.monitor.process import MonitorProcess
from edgeward_runtimes import npz
from edgeward_runtimes.agent.config import AgentConfig
from edgeward_runtimes.agent.service import Agent
from edgeward_runtimes.errors import ConfigError, DeviceError, MonitorError, NotInstalledError
from edgeward_runtimes.home import Home
from edgeward_runtimes.install import installer
from edgeward_runtimes.observation import settings
from edgeward_runtimes.observation.settings import Capture
from tests.agents import WITHIN_S
from tests.conftest import wait_for

_APPLICATION = """
import edgeward, numpy
from edgeward_runtimes import active
from edgeward_runtimes.observation import observer
active._UNOBSERVED_NS, observer._EVERY_NS, observer._SHARE = -1, 0, 0
with edgeward.load("toy") as model:
    for number in range(5):
        model.predict(numpy.float32([[number, 0]]))
"""


def _command(*words: object) -> str:
    """What a command says on stdout; what it raises is raised here."""
    app, fleet = typer.Typer(), typer.Typer()
    capturing.register(app)
    capturing.register_fleet(fleet)
    app.add_typer(fleet, name="fleet")
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def monitor(tmp_path: Path, home: Home, multiply_bundle: Callable[..., Path]) -> Iterator[MonitorProcess]:
    """A monitor and one device with the model `toy`."""
    installer.install(home, multiply_bundle())
    with MonitorProcess(tmp_path / "monitor") as monitor:
        agent = Agent(AgentConfig(fleet="f", device="d", broker=monitor.broker_url, interval_s=0.5), home)
        thread = threading.Thread(target=agent.run)
        thread.start()
        try:
            wait_for(lambda: httpx.get(f"{monitor.url}/api/devices/f/d").is_success, "the device to be known", WITHIN_S)
            yield monitor
        finally:
            agent.stop()
            thread.join(WITHIN_S)


@pytest.mark.slow
def test_samples_come_back_to_the_host_when_asked_for(monitor: MonitorProcess, tmp_path: Path) -> None:
    there = ("--device", "f/d", "--monitor", monitor.url, "-o", tmp_path / "back")
    said = _command("fleet", "capture", "toy", *there, "--on", "--rate", 1, "--margin", 0)
    assert said == "toy is captured; 0 samples are kept, 0.0 MB.\n"
    subprocess.run([sys.executable, "-c", _APPLICATION], check=True)
    with pytest.raises(DeviceError, match="No model 'absent' is installed"):
        _command("fleet", "capture", "absent", *there)
    said = _command("fleet", "capture", "toy", *there)
    assert said.startswith("5 samples of toy: ")
    arrays = npz.read(tmp_path / "back" / "toy.npz")
    assert np.array_equal(arrays["x"], np.float32([[number, 0] for number in range(5)]))
    assert _command("fleet", "capture", "toy", *there, "--clear").startswith("toy is captured; 0 samples")
    with pytest.raises(MonitorError, match="No device 'f/other' has reported yet"):
        _command("fleet", "capture", "toy", "--device", "f/other", "--monitor", monitor.url)


def test_on_the_device_capture_is_turned_on_and_off(home: Home, multiply_bundle: Callable[..., Path]) -> None:
    with pytest.raises(NotInstalledError):
        _command("capture", "toy", "--on")
    installer.install(home, multiply_bundle())
    assert _command("capture", "toy") == "toy is not captured; 0 samples are kept, 0.0 MB.\n"
    assert _command("capture", "toy", "--on", "--rate", "0.5").startswith("toy is captured")
    assert settings.read(home.root, "toy").capture == Capture(rate=0.5)
    with pytest.raises(ConfigError, match="give it with --on"):
        _command("capture", "toy", "--days", 3)
    with pytest.raises(ConfigError, match=r"Expected `float` <= 1.0 - at `\$.rate`"):
        _command("capture", "toy", "--on", "--rate", 2)
    assert _command("capture", "toy", "--off").startswith("toy is not captured")
    assert settings.read(home.root, "toy").capture is None
