"""Capture: what is asked for is kept, within its bounds, whatever is killed; by default nothing is."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import edgeward
from edgeward_runtimes import active, npz
from edgeward_runtimes.home import Home
from edgeward_runtimes.install import installer
from edgeward_runtimes.model import Model
from edgeward_runtimes.observation import capture, captured, observer, settings
from edgeward_runtimes.observation.capture import Ring, Sample, pack, unpack
from edgeward_runtimes.observation.settings import Capture
from tests.conftest import wait_for

DAY_NS = 86_400 * 10**9


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at every prediction, from the first on, and at the settings each time."""
    monkeypatch.setattr(active, "_UNOBSERVED_NS", -1)
    for name in ("_EVERY_NS", "_SHARE", "_SETTINGS_EVERY_S"):
        monkeypatch.setattr(observer, name, 0)


@pytest.fixture
def model(at_once: None, home: Home, multiply_bundle: Callable[..., Path]):
    installer.install(home, multiply_bundle())
    with edgeward.load("toy") as model:
        yield model


def _kept(home: Home) -> list[Sample]:
    return [capture.read(path) for path in Ring(settings.captured(home.root, "toy"), Capture()).paths()]


def _sample(number: int, values: int = 2) -> Sample:
    x = np.full(values, number, np.float32)
    return Sample(number, "1.0.0", "sampled", None, {"x": pack(x)}, {"y": pack(x * 2)})


def test_nothing_is_kept_by_default(model: Model, home: Home) -> None:
    for _ in range(20):
        model.predict(np.ones((1, 2), np.float32))
    assert not (home.root / "observation").exists()


def test_what_is_uncertain_is_kept_from_when_it_is_asked_for_until_it_is_not(model: Model, home: Home) -> None:
    sure, unsure = np.float32([[1, 9]]), np.float32([[2, 2.01]])
    settings.set_capture(home, "toy", Capture(margin=0.1))
    for x in (sure, unsure, sure):
        model.predict(x)
    settings.set_capture(home, "toy", None)
    model.predict(unsure)
    (sample,) = _kept(home)
    assert (sample.reason, sample.confidence) == ("uncertain", pytest.approx(0.505, abs=0.001))
    assert np.array_equal(unpack(sample.inputs["x"]), unsure[0])
    assert np.array_equal(unpack(sample.outputs["y"]), 2 * unsure[0])


def test_a_share_of_all_is_kept(model: Model, home: Home) -> None:
    settings.set_capture(home, "toy", Capture(margin=0, rate=0.25))
    for number in range(40):
        model.predict(np.float32([[number, 0]]))
    assert [unpack(sample.inputs["x"])[0] for sample in _kept(home)] == list(range(3, 40, 4))


def test_feedback_labels_what_was_kept(model: Model, home: Home) -> None:
    settings.set_capture(home, "toy", Capture(margin=0, rate=1))
    batch = np.float32([[9, 1], [1, 9], [9, 1]])
    assert model.feedback([0, 1, 0]) == 0
    for _ in range(3):
        model.predict(batch)
        model.feedback([0, 1, 0])
    samples = _kept(home)
    assert len(samples) == 3
    assert all(sample.y == int(np.argmax(unpack(sample.inputs["x"]))) for sample in samples)
    assert len({sample.inputs["x"].content for sample in samples}) == 2, "another one of the batch each time"


def test_the_newest_are_kept_within_the_number_the_bytes_and_the_age(tmp_path: Path) -> None:
    folder = tmp_path / "toy" / "captured"
    few = Ring(folder, Capture(samples=30, days=1))
    for number in range(1, 200):
        few.keep(_sample(number))
        assert len(few.paths()) <= 30
    assert [capture.read(path).time for path in few.paths()][-20:] == list(range(180, 200))
    assert folder.stat().st_mode & 0o777 == 0o700
    small = Ring(folder, Capture(size_mb=0.01))
    for number in range(200, 400):
        small.keep(_sample(number, values=100))
        assert small.usage()[1] <= 10_000
    assert small.usage()[0] > 5
    assert small.keep(_sample(500, values=10_000)) is None, "larger than all that may be kept"
    few.trim(400 + DAY_NS)
    assert few.usage() == (0, 0)


_APPLICATION = """
import sys, edgeward, numpy
from edgeward_runtimes import active
from edgeward_runtimes.observation import observer
active._UNOBSERVED_NS, observer._EVERY_NS, observer._SHARE = -1, 0, 0
with edgeward.load("toy") as model:
    while True:
        model.predict(numpy.ones((1, 2), numpy.float32))
"""


def test_a_killed_application_leaves_whole_samples(home: Home, multiply_bundle: Callable[..., Path]) -> None:
    installer.install(home, multiply_bundle())
    settings.set_capture(home, "toy", Capture(rate=1))
    ring = Ring(settings.captured(home.root, "toy"), Capture())
    for _ in range(3):
        before = len(ring.paths())
        application = subprocess.Popen([sys.executable, "-c", _APPLICATION])
        wait_for(lambda before=before: len(ring.paths()) > before + 20, "samples")
        application.send_signal(signal.SIGKILL)
        application.wait()
    assert len(_kept(home)) == len(ring.paths()) > 60, "each can be read"


def test_a_damaged_sample_is_passed_over_when_they_are_collected(home: Home) -> None:
    ring = Ring(settings.captured(home.root, "toy"), Capture())
    for number in range(1, 4):
        path = ring.keep(_sample(number))
    assert path is not None
    Path(path).write_bytes(Path(path).read_bytes()[:-5])
    found = captured.collect(home, "toy")
    assert found.message == "2 samples of toy"
    assert found.path.stat().st_mode & 0o777 == 0o600
    assert npz.decode(found.path.read_bytes())["inputs/x"].tolist() == [[1, 1], [2, 2]]


@given(hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, min_side=0)))
def test_arrays_are_kept_as_they_are(array: np.ndarray) -> None:
    again = unpack(pack(array))
    assert (again.dtype, again.shape, again.tobytes()) == (array.dtype, array.shape, array.tobytes())


@given(st.binary(max_size=200))
def test_a_file_that_is_no_sample_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a captured sample"):
        capture.decode(content)
