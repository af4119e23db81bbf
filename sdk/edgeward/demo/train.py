"""Train the demo's network in a process of its own: `python -m edgeward.demo.train FOLDER`.

Writes `digits.keras`, `calibration.npz` (400 training pictures) and `evaluation.npz` (the test split) into FOLDER.
"""

import sys
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

_SEED = 7
_CALIBRATION_SAMPLES = 400


def train(folder: Path) -> None:
    """Train and write the three files. Pictures are float32 (n, 8, 8, 1), 0 to 1; labels 0 to 9."""
    keras.utils.set_random_seed(_SEED)
    pictures, labels = load_digits(return_X_y=True)
    pictures = (pictures.reshape(-1, 8, 8, 1) / 16.0).astype("float32")
    train_x, test_x, train_y, test_y = train_test_split(
        pictures, labels, test_size=0.25, random_state=_SEED, stratify=labels
    )
    model = keras.Sequential(
        [
            keras.layers.Input((8, 8, 1), name="image"),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10, activation="softmax", name="digit"),
        ],
        name="digits",
    )
    model.compile(optimizer=keras.optimizers.Adam(2e-3), loss="sparse_categorical_crossentropy")
    model.fit(train_x, train_y, batch_size=32, epochs=12, verbose=0)
    model.save(folder / "digits.keras")
    np.savez_compressed(folder / "calibration.npz", x=train_x[:_CALIBRATION_SAMPLES])
    np.savez_compressed(folder / "evaluation.npz", x=test_x, y=test_y)


if __name__ == "__main__":
    train(Path(sys.argv[1]))
