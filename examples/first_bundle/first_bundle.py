"""From a trained Keras model to predictions on a device, in one file.

    python examples/first_bundle/first_bundle.py [FOLDER]

Trains a small network on handwritten digits, converts it to six variants, installs the bundle on a device that lies in
a folder of this machine, and predicts there as an application on a real device would.
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import edgeward


def train() -> tuple[keras.Model, np.ndarray, np.ndarray, np.ndarray]:
    """A small CNN, training pictures for calibration, and test pictures (n, 8, 8, 1) with their labels."""
    keras.utils.set_random_seed(0)
    pictures, labels = load_digits(return_X_y=True)
    pictures = (pictures.reshape(-1, 8, 8, 1) / 16).astype("float32")
    train_x, test_x, train_y, test_y = train_test_split(pictures, labels, test_size=0.25, random_state=0)
    model = keras.Sequential(
        [
            keras.layers.Input((8, 8, 1), name="image"),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax", name="digit"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(train_x, train_y, epochs=15, verbose=0)
    return model, train_x, test_x, test_y


def main(folder: Path) -> None:
    """Train, convert, flash, predict."""
    model, train_x, test_x, test_y = train()

    bundle = edgeward.convert(
        model, name="digits", calibration=train_x[:400], evaluation=(test_x, test_y), labels=list("0123456789")
    )
    bundle.save(folder / "digits.edge")
    metric = bundle.manifest.metric
    print(f"source model: accuracy {metric.value:.3f}")
    for variant in bundle.manifest.variants:
        print(f"  {variant.id}: accuracy {variant.metric:.3f}, {variant.size_bytes / 1000:.1f} kB")

    installed = edgeward.flash(bundle, f"local:{folder / 'device'}")
    print(f"installed {installed.release}")

    # On a real device nothing of this is set: the model is found by its name.
    os.environ["EDGEWARD_HOME"] = str(folder / "device")
    with edgeward.load("digits") as digits:
        answers = digits.predict(test_x)
        right = float((answers.argmax(axis=1) == test_y).mean())
        print(f"{digits.variant.id} predicted {len(test_x)} digits, {right:.1%} of them right")
        print(f"because: {digits.variant.reason}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
