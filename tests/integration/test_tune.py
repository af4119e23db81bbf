"""`tune` on a small trained network: a front within its limits, the same again, and what is refused."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import edgeward
from edgeward_converters.tune import tune
from edgeward_converters.worker import Worker
from edgeward_runtimes.bundle import Bundle
from edgeward_runtimes.errors import ConfigError, ConversionError

VARIANTS = ["litert-mixed", "litert-int8", "litert-fp16"]
OPTIONS = {"max_drop": 0.02, "variants": VARIANTS, "trials": 5, "seed": 1, "name": "blobs"}


def _blobs(count, seed):
    """Pictures of 8 x 8 with a bright quarter, which is the class; (n, 8, 8, 1) and (n,)."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 4, count)
    x = random.normal(0, 0.6, (count, 8, 8, 1)).astype(np.float32)
    for sample, label in zip(x, y, strict=True):
        row, column = 4 * (label // 2), 4 * (label % 2)
        sample[row : row + 4, column : column + 4] += 0.7
    return x, y


def _trained(path):
    import keras

    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Input((8, 8, 1)),
        keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
        keras.layers.Conv2D(32, 3, strides=2, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(32, activation="relu"),
        keras.layers.Dense(4, activation="softmax"),
    ]
    model = keras.Sequential(layers)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(*_blobs(1500, 0), epochs=3, verbose=0)
    model.save(path)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """The model's path, labelled calibration data, and evaluation data."""
    path = tmp_path_factory.mktemp("source") / "blobs.keras"
    with Worker() as worker:
        worker.run(_trained, path)
    return path, _blobs(800, 1), _blobs(600, 2)


@pytest.fixture(scope="module")
def tuned(given, tmp_path_factory):
    """A finished search, and its folder."""
    path, calibration, evaluation = given
    folder = tmp_path_factory.mktemp("tuned")
    return tune(path, folder, calibration=calibration, evaluation=evaluation, **OPTIONS), folder


def test_every_point_is_a_bundle_that_predicts_and_is_within_the_drop(tuned, given):
    found, folder = tuned
    x, y = given[2]
    assert found.points
    for point in found.points:
        with edgeward.load(folder / point.bundle) as model:
            accuracy = float((model.predict(x).argmax(axis=1) == y).mean())
        assert accuracy == pytest.approx(point.metric, abs=0.003)
        assert found.source_metric - accuracy <= 0.02 + 0.003
        assert Bundle.open(folder / point.bundle).manifest.variants[0].id == point.variant
    assert json.loads((folder / "front.json").read_bytes())["points"][0]["bundle"] == "blobs-1.edge"
    assert "<svg" in (folder / "front.svg").read_text()


def test_the_smallest_is_mixed_and_far_smaller_than_int8(tuned):
    found, folder = tuned
    sizes = [point.size_bytes for point in found.points]
    assert sizes == sorted(sizes)
    assert found.points[0].variant == "litert-mixed"
    (int8,) = {path.stat().st_size for path in folder.glob("trials/*/litert-int8*.tflite")}
    assert sizes[0] < 0.8 * int8


def _artifacts(folder):
    """Every trial's model: which of them are on the front depends on latency as well, which is never twice the same."""
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.glob("trials/*/*.tflite"))}


def test_killed_and_begun_again_it_tries_the_same(tuned, given, tmp_path):
    _, folder = tuned
    path, (x, y), (ex, ey) = given
    calibration, evaluation, out = tmp_path / "c.npz", tmp_path / "e.npz", tmp_path / "out"
    np.savez(calibration, x=x, y=y)
    np.savez(evaluation, x=ex, y=ey)
    options = [f"--variant={each}" for each in VARIANTS] + ["--trials=5", "--seed=1", "--name=blobs", "--max-drop=0.02"]
    command = [sys.executable, "-m", "edgeward", "tune", path, "--calibration", calibration, "--evaluation", evaluation]
    command = [*map(str, command), *options, "-o", str(out), "--json"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (out / "trials" / "0001").is_dir() and time.monotonic() < deadline and first.poll() is None:
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    again = subprocess.run(command, capture_output=True, check=True, timeout=200)
    assert json.loads(again.stdout)["points"]
    assert _artifacts(out) == _artifacts(folder) != {}


def test_after_the_time_limit_no_trial_is_begun(given, tmp_path):
    path, calibration, evaluation = given
    options = {**OPTIONS, "variants": ["litert-int8", "litert-fp16"], "time_limit": 1e-3}
    found = tune(path, tmp_path / "out", calibration=calibration, evaluation=evaluation, **options)
    assert 1 <= found.trials < OPTIONS["trials"]
    assert found.points


def test_latency_is_measured_on_the_device(given, tmp_path):
    path, calibration, evaluation = given
    options = {**OPTIONS, "trials": 1, "variants": ["litert-int8"], "device": f"local:{tmp_path / 'device'}"}
    found = tune(path, tmp_path / "out", calibration=calibration, evaluation=evaluation, **options)
    assert found.device == options["device"]
    assert (found.points[0].latency_ms or 0) > 0


def test_where_nothing_is_within_the_limits_the_nearest_is_named(tuned, given):
    path, calibration, evaluation = given
    _, folder = tuned
    before = (folder / "front.json").read_bytes()
    with pytest.raises(ConversionError, match=r"^None of the 5 trials keeps within .*10 bytes; the nearest, trial \d"):
        tune(path, folder, calibration=calibration, evaluation=evaluation, **OPTIONS, max_size=10)
    assert (folder / "front.json").read_bytes() == before


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"max_drop": 0.0}, "max_drop"),
        ({"max_drop": -0.1}, "max_drop"),
        ({"max_size": 0}, "max_size"),
        ({"max_latency": -1.0}, "max_latency"),
        ({"metric": "f1"}, "There is no metric 'f1'"),
        ({"variants": ["tpu-int8"]}, "There is no variant 'tpu-int8'"),
        ({"trials": 0}, "trials"),
        ({"workers": "dask"}, "workers"),
    ],
)
def test_what_cannot_be_met_is_refused_and_nothing_is_written(given, tmp_path, wrong, said):
    path, calibration, evaluation = given
    with pytest.raises(ConfigError, match=said):
        tune(path, tmp_path / "out", calibration=calibration, evaluation=evaluation, **{**OPTIONS, **wrong})
    assert not (tmp_path / "out").exists()


def test_evaluation_data_that_was_calibrated_on_is_refused(given, tmp_path):
    path, (x, y), _ = given
    with pytest.raises(ConfigError, match="evaluation samples are calibration samples as well"):
        tune(path, tmp_path / "out", calibration=(x, y), evaluation=(x[:100], y[:100]), **OPTIONS)
    assert not (tmp_path / "out").exists()
