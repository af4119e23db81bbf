"""Engines: what executes a variant. Open an artifact, say its inputs and outputs, run. Nothing more.

Ours are listed here; others plug in through the entry point group `edgeward.engines`, whose entries name an
object with `open`, as `Engine` says. What all engines share (checks, names, quantized I/O, batches,
counting) is written once above them, in `binding` and `model`.
"""

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from msgspec import Struct
from numpy import dtype, ndarray

from edgeward_runtimes.errors import EngineError, EngineMissingError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints
    from pathlib import Path

Array = ndarray[Any, dtype[Any]]  # numpy.typing's NDArray[Any], whose import takes 1 ms
StrPath = str | os.PathLike[str]
Direct = Callable[[Array], Array]

ENTRY_POINT_GROUP = "edgeward.engines"
# From here on, binding an input where it lies is cheaper for an engine than copying it into a buffer bound for good.
LARGE_BYTES = 2**16


class Port(Struct, frozen=True):
    """One input or output of an artifact as the engine sees it.

    `shape` has None where any size goes; `dtype` is numpy's name. For a quantized tensor,
    real = (stored - zero_point) * scale.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    scale: float | None = None
    zero_point: int = 0


class Options(Struct, frozen=True):
    """How an artifact is to be opened.

    Attributes:
        threads: For one run on the CPU; None leaves the number to the engine.
        accelerators: What to try before the CPU, best first; each engine takes those that it knows.
        cache: A folder for what an engine builds for this very machine, kept with the release; None: nothing is kept.
    """

    threads: int | None = None
    accelerators: tuple[str, ...] = ()
    cache: StrPath | None = None


class Placement(Struct, frozen=True):
    """Where a session runs. `warning` says why something that was asked for does not."""

    runs_on: tuple[str, ...] = ("cpu",)
    warning: str | None = None


@runtime_checkable
class Session(Protocol):
    """An opened artifact, for one thread at a time; the caller sees to that."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    placement: Placement

    def prepare(self, shapes: tuple[tuple[int, ...], ...]) -> Direct | None:
        """Get ready for inputs of these shapes, in the order of `inputs`: called before the first run with them.

        Returns:
            For one input and one output, where there is a shorter way than `run`: a function from the input array to
            the output array, which is the caller's to keep. It holds until the next `prepare`. Else None.
        """
        ...

    def run(self, inputs: Sequence[Array], keep: bool) -> Sequence[Array]:
        """Run once on arrays of the prepared shapes and the ports' dtypes, contiguous or not, writable or not.

        The arrays returned, in the order of `outputs`, are the caller's to keep; with `keep` false they may be the
        session's own memory, good until its next run.
        """
        ...

    def another(self) -> "Session":
        """A second session on the same artifact, for another thread; its file may be gone by then."""
        ...


class Engine(Protocol):
    """How an engine is entered."""

    def open(self, artifact: "Path", options: Options) -> Session:
        """Load an artifact. What cannot be had of the accelerators asked for is a warning, and the CPU runs it."""
        ...


class _Builtin(Struct, frozen=True):
    module: str
    attribute: str
    packages: tuple[str, ...]  # any one of them will do
    extra: str


_BUILTIN = {
    "litert": _Builtin("litert", "LiteRT", ("ai_edge_litert", "tflite_runtime", "tensorflow"), "litert"),
    "onnxruntime": _Builtin("onnxruntime", "OnnxRuntime", ("onnxruntime",), "onnx"),
    "openvino": _Builtin("openvino", "OpenVino", ("openvino",), "openvino"),
}


def _plugins() -> "EntryPoints":
    from importlib.metadata import entry_points  # 20 ms that our own engines must not pay for

    return entry_points(group=ENTRY_POINT_GROUP)


def missing_reason(name: str) -> str | None:
    """Why the engine cannot be used here and how to get it, or None when it is installed."""
    builtin = _BUILTIN.get(name)
    if builtin is not None:
        if any(find_spec(package) for package in builtin.packages):
            return None
        return f"{name} is not installed here; get it with: pip install 'edgeward[{builtin.extra}]'"
    if name in _plugins().names:
        return None
    return (
        f"no engine {name!r} is known here: edgeward has {', '.join(_BUILTIN)}, and no installed package "
        f"offers it through the entry point group {ENTRY_POINT_GROUP!r}"
    )


def open_session(name: str, artifact: StrPath, options: Options) -> Session:
    """Open an artifact by an engine's name. Raises EngineMissingError, EngineError, and whatever the engine does."""
    engine = get(name)
    if name not in _BUILTIN:  # ours take a string as well: pathlib's import takes 4 ms
        from pathlib import Path

        artifact = Path(artifact)
    session = engine.open(cast("Path", artifact), options)
    if not isinstance(session, Session):
        raise EngineError(f"{name} gives no session as {__name__}.Session says. Upgrade its package.")
    return session


def get(name: str) -> Engine:
    """Return an engine by name. Raises EngineMissingError, which says how to install it."""
    reason = missing_reason(name)
    if reason is not None:
        raise EngineMissingError(f"Engine {reason}.")
    builtin = _BUILTIN.get(name)
    if builtin is not None:
        entry = getattr(import_module(f"{__name__}.{builtin.module}"), builtin.attribute)
    else:
        entry = _plugins()[name].load()
    return cast(Engine, entry() if isinstance(entry, type) else entry)
