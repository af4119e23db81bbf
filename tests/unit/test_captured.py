"""What comes back from a device is calibration data and, where feedback labelled it, training data."""

from pathlib import Path

import numpy as np
import pytest

from edgeward.captured import save
from edgeward_converters import data
from edgeward_runtimes import npz
from edgeward_runtimes.errors import DeviceError
from tests.builders import INPUTS


def _sent(y: list[int], **inputs: np.ndarray) -> bytes:
    count = len(y)
    facts = {"time": np.arange(count), "reason": np.array(["drifted"] * count), "confidence": np.ones(count)}
    return npz.encode({**{f"inputs/{name}": array for name, array in inputs.items()}, **facts, "y": np.array(y)})


X = np.arange(6, dtype=np.float32).reshape(3, 2)


def test_what_convert_reads_is_what_the_device_kept(tmp_path: Path) -> None:
    saved = save(_sent([1, -1, 0], image=X), "toy", tmp_path)
    assert (saved.samples, saved.labelled) == (3, 2)
    calibration = data.read(INPUTS, saved.file, None)
    assert calibration.calibration is not None
    assert np.array_equal(calibration.calibration["x"], X)
    assert calibration.calibration_y is None, "not all are labelled"
    assert saved.labelled_file is not None
    training = data.labelled(saved.labelled_file, INPUTS, "training")
    assert np.array_equal(training.inputs["x"], X[[0, 2]])
    assert training.y.tolist() == [1, 0]


@pytest.mark.parametrize(("y", "has_labels"), [([2, 1, 0], True), ([-1, -1, -1], False)])
def test_one_file_is_enough_where_all_or_none_are_labelled(tmp_path: Path, y: list[int], has_labels: bool) -> None:
    saved = save(_sent(y, left=X, right=X), "toy", tmp_path)
    assert saved.labelled_file is None
    arrays = npz.read(saved.file)
    assert {"left", "right"} <= set(arrays)
    assert ("y" in arrays) is has_labels


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", npz.encode({"x": X})])
def test_what_is_no_answer_is_said(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DeviceError, match="What the device sent for toy"):
        save(content, "toy", tmp_path)
    assert list(tmp_path.iterdir()) == []
