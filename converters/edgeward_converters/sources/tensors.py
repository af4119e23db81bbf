"""What all sources share: names that every format takes, dtypes that every engine's arrays hold, and the batch axis."""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeward_runtimes.errors import SourceError
from edgeward_runtimes.manifest import Tensor

Array = NDArray[Any]
_LARGEST_BATCH = 250
_DTYPES = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)")


def clean_names(names: Iterable[str]) -> list[str]:
    """Names without scopes and output indices, unique among each other."""
    cleaned = [re.sub(r"[^A-Za-z0-9_]", "_", name.partition(":")[0]).strip("_") or "tensor" for name in names]
    taken: list[str] = []
    for index, name in enumerate(cleaned):
        unique = name if cleaned.count(name) == 1 else f"{name}_{index}"
        while unique in taken:
            unique += "_"
        taken.append(unique)
    return taken


def check_dtype(name: str, dtype: str, named: str) -> str:
    """The dtype, when numpy has it. Raises SourceError for strings and a framework's own number formats."""
    if _DTYPES.fullmatch(dtype):
        return dtype
    raise SourceError(
        f"{named} has the tensor {name!r} of dtype {dtype}; expected numbers that numpy has. "
        "Cut the model where its tensors are plain numbers, and convert that part."
    )


def with_batch_axis(
    inputs: Sequence[Tensor], outputs: Sequence[Tensor], named: str
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], int | None]:
    """The tensors with any batch size, and the one that the model takes, or None where it takes any.

    Raises SourceError when a tensor has no batch axis, or when axes of one size are not all the same size.
    """
    for tensor in (*inputs, *outputs):
        if not tensor.shape:
            raise SourceError(
                f"{named} has the tensor {tensor.name!r} without axes; edgeward predicts batches, so the first axis of "
                "every input and output counts the samples. Make it a tensor of shape (batch,), or a constant."
            )
    fixed = {tensor.name: tensor.shape[0] for tensor in (*inputs, *outputs) if tensor.shape[0] is not None}
    if len(set(fixed.values())) > 1 or (fixed and any(tensor.shape[0] is None for tensor in inputs)):
        raise SourceError(
            f"{named} has first axes that do not all count samples: "
            f"{ {tensor.name: tensor.shape for tensor in (*inputs, *outputs)} }. "
            "Put the batch first in every input and output."
        )
    batch = next(iter(fixed.values()), None) if fixed and inputs[0].shape[0] is not None else None
    return _any_batch(inputs), _any_batch(outputs), batch


def _any_batch(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(Tensor(name=each.name, shape=(None, *each.shape[1:]), dtype=each.dtype) for each in tensors)


def in_batches(
    run: Callable[[list[Array]], Sequence[Array]], inputs: Sequence[Array], batch: int | None
) -> list[Array]:
    """Run any number of samples through a model: a fixed batch is filled up, and what was filled in is cut off."""
    samples, size = len(inputs[0]), batch or _LARGEST_BATCH
    parts = []
    for start in range(0, samples, size):
        part = [array[start : start + size] for array in inputs]
        missing = size - len(part[0]) if batch else 0
        if missing:
            part = [np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) for array in part]
        results = [np.asarray(result) for result in run(part)]
        parts.append([result[: len(result) - missing] for result in results])
    return [np.concatenate(results) for results in zip(*parts, strict=True)]


def digest(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    total = hashlib.sha256()
    for file in sorted(each for each in path.rglob("*") if each.is_file()):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        total.update(f"{file.relative_to(path)}\0{content}\n".encode())
    return total.hexdigest()
