"""What people hand to a conversion: files and arrays that do not fit are named, none is silently bent."""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeward_converters import data, metrics
from edgeward_runtimes import npz
from edgeward_runtimes.errors import InputError
from edgeward_runtimes.manifest import Tensor

FLOATS = (Tensor(name="image", shape=(None, 2), dtype="float32"),)
TWO_CLASSES = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])


def _npz(**arrays: object) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


GOOD = _npz(x=np.arange(200.0).reshape(100, 2), y=np.arange(100))


@given(drawn=st.data())
def test_a_damaged_data_file_gives_arrays_or_an_input_error(tmp_path_factory, drawn: st.DataObject) -> None:
    content = bytearray(GOOD[: drawn.draw(st.integers(0, len(GOOD)))])
    for place in drawn.draw(st.lists(st.integers(0, max(0, len(content) - 1)), max_size=3)) if content else []:
        content[place] ^= drawn.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        npz.read(path, "calibration")


@pytest.mark.parametrize("content", [b"", b"not a zip", GOOD[:-30], _npz(x=np.array([{}], dtype=object))])
def test_a_file_without_plain_arrays_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "given.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"The evaluation file .*given\.npz"):
        data.labelled(path, FLOATS, "evaluation")


def test_data_files_are_read_without_tensorflow(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.ones((2, 2)))
    script = (
        "import sys; from edgeward_converters import data; from edgeward_runtimes.manifest import Tensor;"
        "tensor = Tensor(name='image', shape=(None, 2), dtype='float32');"
        "print(list(data.calibration(sys.argv[1], (tensor,)))); print('tensorflow' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script, str(path)], check=True, capture_output=True, text=True)
    assert ran.stdout.split() == ["['image']", "False"]


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([[0.5, 1.0]]), "int32"),
        (np.array([[np.nan, 1.0]]), "int32"),
        (np.array([[-1, 1]], np.int8), "uint8"),
        (np.array([[300, 1]]), "uint8"),
        (np.array([[2, 1]]), "bool"),
        (np.array([[1e300, 1]]), "float32"),
    ],
)
def test_values_that_do_not_survive_the_models_dtype_are_refused(array, dtype: str) -> None:
    inputs = (Tensor(name="token", shape=(None, 2), dtype=dtype),)
    for read in (data.calibration, lambda x, inputs: data.labelled((x, [0]), inputs, "evaluation")):
        with pytest.raises(InputError, match=f"data for input 'token' holds .* does not survive in {dtype}"):
            read(array, inputs)


def test_values_that_survive_are_taken_in_the_models_dtype() -> None:
    for given_, dtype in ((np.array([[3.0, 250.0]]), "uint8"), (np.array([[0, 255]], np.uint8), "float32")):
        found = data.calibration(given_, (Tensor(name="x", shape=(None, 2), dtype=dtype),))["x"]
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, given_)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.array(["cat", "dog", "cat"]), "'y' is <U3; expected numbers"),
        (np.array(1), "3 samples but a single number in 'y'"),
        (np.array([0, 1]), "3 samples but 2 labels"),
        (np.array([0, 1, np.nan]), "NaN or infinity"),
        ([[0], [1, 2], [3]], "not made of arrays"),
    ],
)
def test_labels_that_are_no_numbers_for_the_samples_are_refused(y, message: str) -> None:
    with pytest.raises(InputError, match=message):
        data.labelled({"image": np.ones((3, 2)), "y": y}, FLOATS, "evaluation")


@pytest.mark.parametrize("metric", ["accuracy", "top5_accuracy"])
@pytest.mark.parametrize("dtype", [int, float, bool])
def test_labels_may_be_a_list_a_column_or_one_hot_of_any_number_type(metric: str, dtype: type) -> None:
    outputs = np.hstack([TWO_CLASSES, np.full((3, 5), 0.5)]) if metric == "top5_accuracy" else TWO_CLASSES
    labels = np.array([0, 1, 0]).astype(dtype)
    one_hot = np.eye(outputs.shape[1])[[0, 1, 0]].astype(dtype)
    found = {metrics.get(metric).score(outputs, y) for y in (labels, labels[:, None], one_hot)}
    assert found == {2 / 3}


def test_a_column_of_labels_fits_a_sigmoid() -> None:
    score = metrics.get("accuracy").score
    assert score(np.array([[0.9], [0.8], [0.1], [0.7]]), np.array([[1.0], [1.0], [0.0], [0.0]])) == 0.75


@pytest.mark.parametrize("metric", ["accuracy", "top5_accuracy"])
@pytest.mark.parametrize(
    ("outputs", "y", "message"),
    [
        (TWO_CLASSES, np.zeros((3, 2, 2)), r"'y' has shape \(3, 2, 2\); expected labels of shape \(3,\)"),
        (TWO_CLASSES, np.zeros((3, 4)), r"one-hot ones of shape \(3, 2\)"),
        (TWO_CLASSES, np.array([0.0, 0.7, 1.0]), "no whole numbers"),
        (np.zeros((3, 4, 4, 2)), np.zeros(3), r"needs outputs of shape \(samples, classes\)"),
    ],
)
def test_labels_that_do_not_fit_the_outputs_are_refused(metric: str, outputs, y, message: str) -> None:
    with pytest.raises(InputError, match=message):
        metrics.get(metric).score(outputs, y)
