"""A Keras LSTM on IMDB's reviews, trained here: every engine's float32 and int8 within half a point of Keras."""

import re
from pathlib import Path

import numpy as np
import pytest

from edgeward_converters import convert
from edgeward_converters.worker import Worker

HALF_A_POINT = 0.005


def _train(data: Path, path: Path) -> float:
    """Train on the reviews' 256 tokens and give the accuracy on the test split, by Keras itself."""
    import keras

    keras.utils.set_random_seed(0)
    with np.load(data) as reviews:
        train_x, train_y = reviews["x_train"].astype(np.int32), reviews["y_train"]
        test_x, test_y = reviews["x_test"].astype(np.int32), reviews["y_test"]
    model = keras.Sequential(
        [
            keras.layers.Input((256,), dtype="int32", name="tokens"),
            keras.layers.Embedding(10_000, 32),
            keras.layers.LSTM(32),
            keras.layers.Dense(1, activation="sigmoid", name="positive"),
        ],
        name="imdb",
    )
    model.compile(optimizer="adam", loss="binary_crossentropy")
    model.fit(train_x, train_y, batch_size=64, epochs=3, verbose=0)
    model.save(path)
    return float(((model.predict(test_x, verbose=0)[:, 0] > 0.5) == test_y).mean())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_lstm_keeps_its_accuracy_on_every_engine(test_data: Path, worker: Worker, tmp_path: Path) -> None:
    source = tmp_path / "imdb.keras"
    accuracy = worker.run(_train, test_data / "imdb_6k.npz", source)
    assert accuracy > 0.7, "it learned something that could be lost"
    with np.load(test_data / "imdb_6k.npz") as reviews:
        evaluation = (reviews["x_test"], reviews["y_test"])
        calibration = reviews["x_train"][:64]
    conversion = convert(source, evaluation=evaluation, max_drop=HALF_A_POINT, worker=worker)
    assert conversion.report.source_metric == pytest.approx(accuracy)
    variants = {variant.id: variant for variant in conversion.bundle.manifest.variants}
    assert {variant_id: variant.quantization for variant_id, variant in variants.items()} == {
        "litert-fp32": None,
        "litert-int8": "dynamic",
        "onnxruntime-fp32": None,
        "onnxruntime-int8": "dynamic",
        "openvino-fp32": None,
        "openvino-int8": "weights",
    }
    for variant in variants.values():
        assert variant.metric is not None
        assert abs(variant.metric - accuracy) <= HALF_A_POINT + 1e-9, variant
    for engine in ("litert", "onnxruntime", "openvino"):
        # The embedding is 97 % of it, and in int8 with a scale for every word.
        assert variants[f"{engine}-int8"].size_bytes < 0.4 * variants[f"{engine}-fp32"].size_bytes

    calibrated = convert(
        source, variants=["litert-int8"], calibration=calibration, evaluation=evaluation, worker=worker
    ).bundle.manifest.variant("litert-int8")
    assert calibrated.quantization == "dynamic"
    (fallback,) = calibrated.fallbacks
    loops = "static int8: what runs in loops, as an LSTM or a GRU does, cannot be calibrated; in its place dynamic int8"
    assert re.match(re.escape(loops), fallback.note)
