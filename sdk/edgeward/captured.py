"""Captured samples, as a device sends them, as files that `convert --calibration` and a training script take."""

from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from edgeward_runtimes import npz
from edgeward_runtimes.durable import write_atomically
from edgeward_runtimes.errors import DeviceError

Arrays = dict[str, NDArray[Any]]
_INPUTS = "inputs/"
_FACTS = ("time", "reason", "confidence")


class Saved(Struct, frozen=True):
    """What was written: all samples, and those with labels where only some have one."""

    samples: int
    labelled: int
    file: Path
    labelled_file: Path | None


def save(content: bytes, name: str, folder: Path) -> Saved:
    """Write NAME.npz and, where feedback labelled some of the samples but not all, NAME-labelled.npz.

    They hold one array per input (`x` for a single one); `y` with the labels, where all have one; and, of each sample,
    its time (Unix ns), the reason why it was kept, and the model's confidence.

    Raises:
        DeviceError: When the content is not what a device sends.
        OSError: When the files cannot be written.
    """
    samples, y = _read(content, name)
    known = y >= 0
    file = folder / f"{name}.npz"
    write_atomically(file, npz.encode({**samples, "y": y} if known.all() else samples))
    if known.all() or not known.any():
        return Saved(len(y), int(known.sum()), file, None)
    labelled_file = folder / f"{name}-labelled.npz"
    labelled = {**{key: array[known] for key, array in samples.items()}, "y": y[known]}
    write_atomically(labelled_file, npz.encode(labelled))
    return Saved(len(y), int(known.sum()), file, labelled_file)


def _read(content: bytes, name: str) -> tuple[Arrays, NDArray[Any]]:
    """The inputs and facts by the names that they shall have, and the labels: -1 where there is none."""
    try:
        arrays = npz.decode(content)
    except ValueError as error:
        raise DeviceError(f"What the device sent for {name} is not a whole .npz: {error}. Ask it again.") from error
    inputs = {key.removeprefix(_INPUTS): array for key, array in arrays.items() if key.startswith(_INPUTS)}
    if not inputs or not {*_FACTS, "y"} <= set(arrays):
        raise DeviceError(f"What the device sent for {name} holds {sorted(arrays)}, and no samples. Update its agent.")
    if len(inputs) == 1:
        inputs = {"x": next(iter(inputs.values()))}
    return {**{fact: arrays[fact] for fact in _FACTS}, **inputs}, np.asarray(arrays["y"])
