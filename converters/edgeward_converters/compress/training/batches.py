"""Which samples are trained on when, and what augmentation makes of them. Pure, and by numpy's generator alone."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeward_converters.data import Arrays
from edgeward_runtimes.errors import ConfigError

Augmentation = Literal["none", "shift", "flip_and_shift"]

Array = NDArray[Any]
_FARTHEST = 8  # a picture moves by up to one part in this many of its size


def count(samples: int, batch_size: int, epochs: float) -> int:
    """How many batches that makes, at least one."""
    return max(1, round(epochs * samples / min(batch_size, samples)))


def indices(samples: int, batch_size: int, total: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """The samples of each batch: one shuffled pass after the other, all batches of one size.

    A batch goes on in the next pass where one ends, so that no batch is small: BatchNorm would suffer of it.
    """
    generator = np.random.default_rng(seed)
    size = min(batch_size, samples)
    waiting = generator.permutation(samples)
    for _ in range(total):
        if len(waiting) < size:
            waiting = np.concatenate([waiting, generator.permutation(samples)])
        yield waiting[:size]
        waiting = waiting[size:]


def ordered(inputs: Arrays, names: list[str]) -> list[Array]:
    """The arrays in the model's order of inputs; a single array is a single input's, whatever it is called.

    Raises ConfigError when one is missing.
    """
    if len(names) == 1 and len(inputs) == 1:
        return list(inputs.values())
    missing = [name for name in names if name not in inputs]
    if missing:
        raise ConfigError(f"The data has no array for the model's input {missing[0]!r}; it has {sorted(inputs)}.")
    return [inputs[name] for name in names]


def kept(weights: Array) -> NDArray[np.bool_] | None:
    """Which of a layer's weights may move, when some may not: zeros among others were pruned, and stay zeros.

    None when all may: nothing of it is zero, or all (which is how some layers begin), or it is a bias or the like.
    """
    moving: NDArray[np.bool_] = weights != 0
    return None if weights.ndim < 2 or moving.all() or not moving.any() else moving


def augmented(
    pictures: Array, augmentation: Augmentation, generator: np.random.Generator, *, channels_first: bool
) -> Array:
    """Each picture moved by up to an eighth of its height and width, edges repeated; and, if told, mirrored or not.

    Args:
        pictures: (n, height, width, channels), or with `channels_first` (n, channels, height, width). What has not
            four axes is no picture, and is given back.
        augmentation: What to do.
        generator: For what is random.
        channels_first: PyTorch's order.
    """
    if augmentation == "none" or pictures.ndim != 4:
        return pictures
    nhwc = pictures.transpose(0, 2, 3, 1) if channels_first else pictures
    count, height, width = nhwc.shape[:3]
    rows = np.arange(height) + _shifts(generator, count, height)
    columns = np.arange(width) + _shifts(generator, count, width)
    rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    if augmentation == "flip_and_shift":
        mirrored = generator.random((count, 1)) < 0.5
        columns = np.where(mirrored, columns[:, ::-1], columns)
    moved = nhwc[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return np.ascontiguousarray(moved.transpose(0, 3, 1, 2)) if channels_first else moved


def check_pictures(inputs: list[Array], augmentation: Augmentation) -> None:
    """Raises ConfigError when there is something to augment, but no input is of pictures."""
    if augmentation != "none" and not any(array.ndim == 4 for array in inputs):
        shapes = ", ".join(str(array.shape) for array in inputs)
        raise ConfigError(
            f"The augmentation {augmentation} needs an input of pictures, four axes with the samples first; "
            f'the inputs are {shapes}. Use augmentation = "none".'
        )


def _shifts(generator: np.random.Generator, count: int, size: int) -> NDArray[np.int64]:
    farthest = size // _FARTHEST
    return generator.integers(-farthest, farthest + 1, (count, 1))
