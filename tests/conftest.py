"""Fixtures that all tests share: real data, a real bundle made once, devices, brokers, free ports."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from edgeward_converters.worker import Worker
from edgeward_runtimes.home import Home
from tests.builders import write_bundle

if TYPE_CHECKING:
    from tests.postgres import Postgres

# A command's words to its exit code, stdout and stderr.
Cli = Callable[..., tuple[int, str, str]]
REPOSITORY = Path(__file__).resolve().parent.parent

# Property tests read shared files through function fixtures, and a busy machine must not make them fail.
settings.register_profile(
    "edgeward", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
settings.load_profile("edgeward")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real data, `$EDGEWARD_TEST_DATA`, by default ../shared/data beside the repository."""
    folder = Path(os.environ.get("EDGEWARD_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}: set EDGEWARD_TEST_DATA to the folder that holds mlperf_tiny")
    return folder


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo's trained network, its data, and `digits.edge` with all six variants."""
    import edgeward

    folder = tmp_path_factory.mktemp("digits")
    subprocess.run([sys.executable, "-m", "edgeward.demo.train", str(folder)], check=True, capture_output=True)
    bundle = edgeward.convert(
        folder / "digits.keras",
        name="digits",
        calibration=folder / "calibration.npz",
        evaluation=folder / "evaluation.npz",
        labels=tuple("0123456789"),
    )
    bundle.save(folder / "digits.edge")
    return folder


@pytest.fixture(scope="session")
def worker() -> Iterator[Worker]:
    """A warm worker for all tests: TensorFlow and PyTorch are imported once, and not here."""
    with Worker() as worker:
        yield worker


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Install tests/plugin_engine.py as a plug-in package offering the engine `multiply`, for us and our children."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copy(REPOSITORY / "tests" / "plugin_engine.py", folder / "multiply_engine.py")
    metadata = folder / "multiply_engine-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: multiply-engine\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[edgeward.engines]\nmultiply = multiply_engine:MultiplyEngine\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        yield folder


@pytest.fixture
def multiply_bundle(plugin: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write a bundle for the plug-in engine: `multiply_bundle(version="1.1.0", **settings)`.

    Keyword arguments are the artifact's settings; `variants={"multiply-a": {...}, …}` gives several.
    """

    def make(version: str = "1.0.0", variants: dict[str, dict] | None = None, **settings: object) -> Path:
        variants = variants or {"multiply-fp32": settings}
        artifacts = {name: json.dumps({"factor": 2.0, **each}).encode() for name, each in variants.items()}
        path = tmp_path / f"toy-{version}.edge"
        write_bundle(path, version=version, artifacts=artifacts)
        return path

    return make


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty device of this process and its children."""
    device = Home.under(tmp_path / "device")
    for name, value in device.environment.items():
        monkeypatch.setenv(name, value)
    return device


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Run a command in this process; gives exit code, stdout, stderr."""
    from edgeward.cli import run

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["edgeward", *map(str, arguments)])
        code = run()
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture(name="free_port")
def _free_port() -> Callable[[], int]:
    """Give a TCP port that was free on loopback a moment ago."""
    return free_port


def free_port() -> int:
    """A TCP port that was free on loopback a moment ago; for fixtures that live longer than a test."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def mosquitto(free_port: Callable[[], int], tmp_path: Path) -> Iterator[int]:
    """A real Mosquitto on loopback; gives its port."""
    from tests.agents import broker

    port = free_port()
    with broker(port, tmp_path):
        yield port


@pytest.fixture(scope="session")
def postgres() -> Iterator["Postgres"]:
    """A real PostgreSQL server, reached through a socket of its own."""
    from tests.postgres import running

    with running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty store, of either kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'monitor.db'}"
        return
    with request.getfixturevalue("postgres").database() as url:
        yield url


def wait_for(condition: Callable[[], object], what: str, within_s: float = 20.0) -> None:
    """Wait until a condition holds, asking often; fails the test when it does not in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {within_s} s for {what}")
        time.sleep(0.02)


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
