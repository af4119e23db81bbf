"""The models that are compressed, as Keras files, and their data as the command line takes it.

Each is trained once, in a worker, and kept under build/compression.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from edgeward_converters import Worker
from tests.benchmarks.models import REPOSITORY, Array, data_folder

_KEPT = REPOSITORY / "build" / "compression"


class Subject(Struct, frozen=True):
    """A source with its data: labelled .npz files, of which `training` also calibrates."""

    name: str
    source: Path
    training: Path
    evaluation: Path

    def load(self, split: str) -> tuple[Array, Array]:
        """x and y of `training` or `evaluation`."""
        with np.load(getattr(self, split)) as arrays:
            return arrays["x"], arrays["y"]


def resnet8(worker: Worker) -> Subject:
    """MLPerf Tiny's ResNet8 as it is published, and CIFAR-10."""
    folder = data_folder()
    source = folder / "mlperf_tiny" / "pretrainedResnet.h5"
    return Subject("resnet8", source, folder / "cifar10_train_10k.npz", folder / "cifar10_test.npz")


def mnist_cnn(worker: Worker) -> Subject:
    """The tutorials' CNN: convolutions of 32 and 64 filters, a dense layer of 128."""
    return _trained(worker, "mnist_cnn", _digits, _mnist_cnn)


def mlp(worker: Worker) -> Subject:
    """784-1024-1024-10: nearly all of it in two matrices."""
    return _trained(worker, "mlp", _digits, _mlp)


def imdb_lstm(worker: Worker) -> Subject:
    """Embedding and LSTM over 256 tokens of film reviews."""
    return _trained(worker, "imdb_lstm", _reviews, _imdb_lstm)


def _trained(
    worker: Worker, name: str, data: Callable[[], dict[str, tuple[Array, Array]]], train: Callable[[Path, Path], None]
) -> Subject:
    folder = _KEPT / name
    folder.mkdir(parents=True, exist_ok=True)
    subject = Subject(name, folder / f"{name}.keras", folder / "training.npz", folder / "evaluation.npz")
    if not subject.source.exists():
        for split, (x, y) in data().items():
            np.savez(folder / f"{split}.npz", x=x, y=y)
        worker.run(train, subject.training, subject.source)
    return subject


def _digits() -> dict[str, tuple[Array, Array]]:
    with np.load(data_folder() / "mnist.npz") as digits:
        pictures = {split: digits[f"x_{split}"][..., None].astype(np.float32) / 255 for split in ("train", "test")}
        return {"training": (pictures["train"], digits["y_train"]), "evaluation": (pictures["test"], digits["y_test"])}


def _reviews() -> dict[str, tuple[Array, Array]]:
    with np.load(data_folder() / "imdb_6k.npz") as reviews:
        return {
            "training": (reviews["x_train"].astype(np.int32), reviews["y_train"]),
            "evaluation": (reviews["x_test"].astype(np.int32), reviews["y_test"]),
        }


def _mnist_cnn(training: Path, path: Path) -> None:
    import keras

    layers = keras.layers
    _fitted(
        [
            layers.Input((28, 28, 1), name="image"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ],
        "sparse_categorical_crossentropy",
        training,
        path,
        epochs=6,
    )


def _mlp(training: Path, path: Path) -> None:
    import keras

    layers = keras.layers
    _fitted(
        [
            layers.Input((28, 28, 1), name="image"),
            layers.Flatten(),
            layers.Dense(1024, activation="relu"),
            layers.Dense(1024, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ],
        "sparse_categorical_crossentropy",
        training,
        path,
        epochs=4,
    )


def _imdb_lstm(training: Path, path: Path) -> None:
    import keras

    layers = keras.layers
    _fitted(
        [
            layers.Input((256,), dtype="int32", name="tokens"),
            layers.Embedding(10_000, 32),
            layers.LSTM(32),
            layers.Dense(1, activation="sigmoid", name="positive"),
        ],
        "binary_crossentropy",
        training,
        path,
        epochs=3,
    )


def _fitted(layers: list[Any], loss: str, training: Path, path: Path, epochs: int) -> None:
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(layers, name=path.stem)
    model.compile(optimizer="adam", loss=loss)
    with np.load(training) as arrays:
        model.fit(arrays["x"], arrays["y"], batch_size=64, epochs=epochs, verbose=0)
    model.save(path)
