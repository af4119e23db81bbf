"""Captured samples as one .npz, made on the device when somebody asks for them; one sample in memory at a time.

inputs/NAME, outputs/NAME    (samples, …), in the order of their time
time                         int64, Unix ns
reason                       uncertain, drifted or sampled
confidence                   NaN where the model does not classify
y                            int64: the class that feedback said to be true, -1 where none did
"""

import contextlib
import os
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from edgeward_runtimes.errors import EdgewardError
from edgeward_runtimes.home import Home
from edgeward_runtimes.observation import settings
from edgeward_runtimes.observation.capture import Ring, Sample, read
from edgeward_runtimes.observation.settings import Capture

_Kind = tuple[tuple[str, str, tuple[int, ...]], ...]  # name, dtype and shape of each tensor
_FACTS: dict[str, tuple[str, Callable[[Sample], Any]]] = {
    "time": ("<i8", lambda sample: sample.time),
    "reason": ("<U9", lambda sample: sample.reason),
    "confidence": ("<f8", lambda sample: np.nan if sample.confidence is None else sample.confidence),
    "y": ("<i8", lambda sample: -1 if sample.y is None else sample.y),
}


class Collected(Struct, frozen=True):
    """The file, which is the caller's to move or remove, and a sentence about it."""

    path: Path
    message: str


class Status(Struct, frozen=True):
    """What is captured of a model now, by which settings (None: nothing), and what is kept already."""

    model: str
    capture: Capture | None
    samples: int
    size_bytes: int

    @property
    def sentence(self) -> str:
        """For people."""
        state = "captured" if self.capture is not None else "not captured"
        return f"{self.model} is {state}; {self.samples} samples are kept, {self.size_bytes / 1e6:.1f} MB."


def status(home: Home, model: str) -> Status:
    """Say what is captured. Raises OSError."""
    samples, size = _ring(home, model).usage()
    return Status(model, settings.read(home.root, model).capture, samples, size)


def clear(home: Home, model: str) -> None:
    """Remove what is kept. Raises OSError."""
    for path in Path(settings.captured(home.root, model)).glob("*"):
        path.unlink(missing_ok=True)


def collect(home: Home, model: str) -> Collected:
    """Write what is kept into a file beside it. Samples of another shape than most are left out.

    Raises:
        EdgewardError: When nothing is kept.
        OSError: When the disk is full, or a sample expired while it was read; asked again, it works.
    """
    kinds: dict[_Kind, list[str]] = {}
    for path in _ring(home, model).paths():
        with contextlib.suppress(ValueError, FileNotFoundError):  # damaged, or gone meanwhile
            kinds.setdefault(_kind(read(path)), []).append(path)
    if not kinds:
        raise EdgewardError(f"No samples of {model} are kept here. Begin with: edgeward capture {model} --on")
    kind, paths = max(kinds.items(), key=lambda each: len(each[1]))
    file = Path(settings.captured(home.root, model)).parent / f".{os.getpid()}.npz"
    try:
        _write(file, paths, kind)
    except BaseException:
        file.unlink(missing_ok=True)
        raise
    others = sum(map(len, kinds.values())) - len(paths)
    left_out = f"; {others} of other shapes are left out" if others else ""
    return Collected(file, f"{len(paths)} samples of {model}{left_out}")


def _ring(home: Home, model: str) -> Ring:
    return Ring(settings.captured(home.root, model), settings.read(home.root, model).capture or Capture())


def _kind(sample: Sample) -> _Kind:
    groups = (("inputs", sample.inputs), ("outputs", sample.outputs))
    return tuple(
        (f"{group}/{name}", packed.dtype, packed.shape) for group, arrays in groups for name, packed in arrays.items()
    )


def _write(file: Path, paths: Sequence[str], kind: _Kind) -> None:
    """Write samples of one kind, reading them once for each array."""
    with (
        open(file, "wb", opener=_for_the_owner) as stream,  # pathlib knows no opener
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name, dtype, shape in kind:
            group, _, tensor = name.partition("/")
            contents = (getattr(read(path), group)[tensor].content for path in paths)
            _write_array(archive, name, np.dtype(dtype), (len(paths), *shape), contents)
        for name, (dtype, fact) in _FACTS.items():
            contents = (np.array(fact(read(path)), dtype).tobytes() for path in paths)
            _write_array(archive, name, np.dtype(dtype), (len(paths),), contents)


def _write_array(
    archive: zipfile.ZipFile, name: str, dtype: "np.dtype[Any]", shape: tuple[int, ...], contents: Iterable[bytes]
) -> None:
    """An array, piece by piece along its first axis."""
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        for content in contents:
            member.write(content)


def _for_the_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
