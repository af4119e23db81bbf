"""What the families are trained on and asked about: real data, and data that is drawn here.

Pictures are float32 (n, height, width, channels), tokens int32 (n, length). `part` 0 is for training; every other part
is of samples that training has not seen. Real data lies in `$EDGEWARD_TEST_DATA`, by default ../shared/data beside the
repository.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Arrays = dict[str, Array]

WORDS = 500
REVIEW_LENGTH = 64
PERSONS = 12
SHAPE_SIDE = 32
_REPOSITORY = Path(__file__).resolve().parent.parent.parent


def folder() -> Path:
    """The folder of real data."""
    return Path(os.environ.get("EDGEWARD_TEST_DATA", _REPOSITORY.parent / "shared" / "data"))


def digits(count: int, part: int = 0) -> tuple[Array, Array]:
    """MNIST: pictures (n, 28, 28, 1) from 0 to 1, and their classes."""
    split = "train" if part == 0 else "test"
    with np.load(folder() / "mnist.npz") as mnist:
        return mnist[f"x_{split}"][:count, ..., None].astype(np.float32) / 255, mnist[f"y_{split}"][:count].astype(int)


def photographs(count: int, part: int = 0) -> tuple[Array, Array]:
    """CIFAR-10: pictures (n, 32, 32, 3) from 0 to 255, and their classes."""
    chosen = slice(count) if part == 0 else slice(-count, None)
    with np.load(folder() / "cifar10_train_10k.npz") as cifar10:
        return cifar10["x"][chosen].astype(np.float32), cifar10["y"][chosen].astype(int)


def reviews(count: int, part: int = 0, *, padded: str = "in front") -> tuple[Array, Array]:
    """IMDB: the last words of reviews, cut to 16 to 64 words and padded with 0; 1 is a good review."""
    split = "train" if part == 0 else "test"
    with np.load(folder() / "imdb_6k.npz") as imdb:
        tokens = imdb[f"x_{split}"][:count, -REVIEW_LENGTH:].astype(np.int32)
        good = imdb[f"y_{split}"][:count].astype(int)
    cut = np.random.default_rng(part).integers(0, REVIEW_LENGTH - 15, size=count)
    tokens[np.arange(REVIEW_LENGTH) < cut[:, None]] = 0
    if padded == "behind":
        order = np.argsort(tokens == 0, axis=1, kind="stable")
        tokens = np.take_along_axis(tokens, order, axis=1)
    return tokens, good


def shapes(count: int, part: int = 0) -> tuple[Array, Array]:
    """Noisy pictures (n, 32, 32, 1) of an ellipse over a rectangle, and the ellipse's mask, 0 or 1, of that shape."""
    random = np.random.default_rng(part)
    y, x = np.mgrid[:SHAPE_SIDE, :SHAPE_SIDE] / SHAPE_SIDE
    centre, size = _columns(random, count, 0.3, 0.7), _columns(random, count, 0.1, 0.3)
    other, half = _columns(random, count, 0.3, 0.7), _columns(random, count, 0.1, 0.3)
    ellipse = ((x - centre[0]) / size[0]) ** 2 + ((y - centre[1]) / size[1]) ** 2 < 1
    rectangle = (np.abs(x - other[0]) < half[0]) & (np.abs(y - other[1]) < half[1])
    drawn = np.where(ellipse, 0.9, np.where(rectangle, 0.6, 0.2))
    noisy = drawn + random.normal(scale=0.08, size=drawn.shape)
    return noisy[..., None].astype(np.float32), ellipse[..., None].astype(np.float32)


def faces(count: int, part: int = 0) -> tuple[Array, Array]:
    """Drawn faces (n, 32, 32, 1) of twelve persons, each with a look of its own, and who it is."""
    looks = np.random.default_rng(1000).uniform(size=(PERSONS, 5))
    random = np.random.default_rng(part)
    person = random.integers(0, PERSONS, size=count)
    width, apart, eye, mouth, smile = (looks[person, column][:, None, None] for column in range(5))
    shift = _columns(random, count, -0.12, 0.12)
    y, x = np.mgrid[:SHAPE_SIDE, :SHAPE_SIDE] / (SHAPE_SIDE / 2) - 1
    x, y = np.abs(x - shift[0]), y - shift[1]
    head = (x / (0.5 + 0.3 * width)) ** 2 + (y / 0.85) ** 2 < 1
    eyes = (x - 0.18 - 0.2 * apart) ** 2 + (y + 0.25) ** 2 < (0.08 + 0.08 * eye) ** 2
    lips = (x < 0.15 + 0.25 * mouth) & (np.abs(y - 0.4 + (smile - 0.5) * x) < 0.07)
    drawn = np.where(eyes | lips, 0.1, np.where(head, 0.8, 0.3)) + random.normal(scale=0.05, size=head.shape)
    return drawn[..., None].astype(np.float32), person


def progressions(count: int, part: int = 0) -> tuple[Array, Array]:
    """Arithmetic progressions modulo 10: the first four terms (n, 4), and the four that follow (n, 4)."""
    random = np.random.default_rng(part)
    first, step = random.integers(0, 10, size=(2, count, 1))
    terms = ((first + step * np.arange(8)) % 10).astype(np.int32)
    return terms[:, :4], terms[:, 4:]


def _columns(random: np.random.Generator, count: int, low: float, high: float) -> Array:
    """Two numbers for each picture, to be spread over its pixels: (2, count, 1, 1)."""
    return random.uniform(low, high, size=(2, count, 1, 1))
