"""A loaded model: `predict`, the same for every engine and precision.

Knows no engine by name. Every call is checked, run, counted and timed; a model may be shared between threads.
What a call uses is held in one `_Active`, taken once at its start, so a model that watches its device can move to
another release between two predictions without dropping either.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from msgspec import Struct

from edgeward_runtimes import engines
from edgeward_runtimes.binding import Array, Binding, Inputs
from edgeward_runtimes.errors import EdgewardError, EngineError, InputError
from edgeward_runtimes.latency.recorder import Recorder
from edgeward_runtimes.manifest import Manifest, Quantization, Tensor

Outputs = Array | dict[str, Array]


class Choice(Struct, frozen=True):
    """The variant that a model runs, and why this one. `threads` None: the engine's own number."""

    id: str
    engine: str
    precision: str
    quantization: Quantization | None
    reason: str
    threads: int | None = None


class Latency(Struct, frozen=True):
    """What a model has counted in this process. Milliseconds; None before the first prediction."""

    predictions: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class _Active:
    """Everything one prediction needs."""

    def __init__(self, binding: Binding, recorder: Recorder, labels: tuple[str, ...] | None, choice: Choice):
        self.binding = binding
        self.recorder = recorder
        self.labels = labels
        self.choice = choice
        self.lock = threading.Lock()


class Model:
    """A model to predict with; made by `edgeward.load`."""

    def __init__(self, active: _Active) -> None:
        self._active = active
        self._on_close: Callable[[], None] | None = None

    @classmethod
    def open(cls, artifact: Path, manifest: Manifest, choice: Choice, recorder: Recorder) -> "Model":
        """Open a variant's artifact. Raises EngineMissingError or EngineError."""
        binding = bind(artifact, choice.engine, manifest.inputs, manifest.outputs, choice.threads)
        return cls(_Active(binding, recorder, manifest.labels, choice))

    @classmethod
    def of(
        cls,
        artifact: Path,
        engine: str,
        inputs: tuple[Tensor, ...],
        outputs: tuple[Tensor, ...],
        threads: int | None = None,
    ) -> "Model":
        """Open an artifact that is in no bundle yet, as the converter does; it counts in private memory."""
        choice = Choice(artifact.stem, engine, "", None, "opened as a file", threads)
        recorder = Recorder(artifact.stem, "", folder=None)
        return cls(_Active(bind(artifact, engine, inputs, outputs, threads), recorder, None, choice))

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Name, shape (None: any) and dtype of each input."""
        return self._active.binding.inputs

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """Name, shape (None: any) and dtype of each output."""
        return self._active.binding.outputs

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Class names by index, where the bundle has them."""
        return self._active.labels

    @property
    def variant(self) -> Choice:
        """The variant in use and the reason for it."""
        return self._active.choice

    @property
    def latency(self) -> Latency:
        """Counts and latency quantiles of this process's predictions."""
        errors, histogram = self._active.recorder.read()
        p50, p95, p99 = (histogram.quantile_ms(quantile) for quantile in (0.5, 0.95, 0.99))
        return Latency(histogram.count, errors, p50, p95, p99)

    def predict(self, x: Inputs, *, out: Outputs | None = None) -> Outputs:
        """Predict a batch.

        Args:
            x: An array with the batch axis first when there is one input, else a dict of them by name.
                Shapes and dtypes are `inputs`'.
            out: Arrays to write into, as `predict` would return them.

        Returns:
            An array when there is one output, else a dict by name. Shapes and dtypes are `outputs`'.

        Raises:
            InputError: When a tensor's name, shape or dtype is wrong; nothing was run or counted.
            EngineError: When the engine failed; counted as an error.
        """
        active = self._active
        start = time.perf_counter_ns()
        arrays = active.binding.check(x)
        with active.lock:
            try:
                results = active.binding.run(arrays)
            except (RuntimeError, ValueError, TypeError, MemoryError, OSError) as error:
                active.recorder.failure()
                raise EngineError(f"{active.choice.engine} failed to run {active.choice.id}: {error}") from error
            active.recorder.success(time.perf_counter_ns() - start)
        names = active.binding.outputs
        if out is not None:
            return _write_out(dict(zip((tensor.name for tensor in names), results, strict=True)), out)
        if len(results) == 1:
            return results[0]
        return {tensor.name: array for tensor, array in zip(names, results, strict=True)}

    async def predict_async(self, x: Inputs) -> Outputs:
        """Await `predict` on a thread of the event loop's pool."""
        return await asyncio.to_thread(self.predict, x)

    def stream(self, batches: Iterable[Inputs], *, depth: int = 2) -> Iterator[Outputs]:
        """Predict each of `batches`, in order, fetching up to `depth` of them ahead on a second thread."""
        iterator = iter(batches)
        with ThreadPoolExecutor(1, thread_name_prefix="edgeward-stream") as fetcher:
            ahead = [fetcher.submit(next, iterator, _END) for _ in range(max(1, depth))]
            while True:
                batch = ahead.pop(0).result()
                if batch is _END:
                    return
                ahead.append(fetcher.submit(next, iterator, _END))
                yield self.predict(batch)

    def move_to(self, other: "Model") -> None:
        """Take over another model's release for all predictions that start from now on.

        One under way ends, and is counted, on the release that it began on; the last of them lets go of it.
        """
        self._active = other._active

    def on_close(self, action: Callable[[], None]) -> None:
        """Have `action` called when the model is closed."""
        self._on_close = action

    def close(self) -> None:
        """Stop watching and let go of the latency file; its counts stay for the agent."""
        if self._on_close is not None:
            self._on_close()
        with self._active.lock:
            self._active.recorder.close()

    def __enter__(self) -> "Model":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Model {self.variant.id}: {self.variant.reason}>"


_END: Any = object()


def bind(
    artifact: Path, engine: str, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], threads: int | None
) -> Binding:
    """Open an artifact with its engine behind the manifest's tensors. Raises EngineError."""
    try:
        return Binding(engines.get(engine).open(artifact, threads), inputs, outputs)
    except EdgewardError:
        raise
    except Exception as error:  # whatever an engine's loader throws, natively or not
        raise EngineError(f"{engine} cannot open {artifact.name}: {error}") from error


def _write_out(results: Mapping[str, Array], out: Outputs) -> Outputs:
    """Copy results into the caller's arrays."""
    targets = {next(iter(results)): out} if isinstance(out, np.ndarray) else out
    if set(targets) != set(results):
        raise InputError(f"out= needs arrays for {sorted(results)}, got {sorted(map(str, targets))}.")
    for name, array in results.items():
        target = targets[name]
        if target.shape != array.shape or target.dtype != array.dtype:
            raise InputError(
                f"out= for {name!r} must be {array.dtype.name} of shape {array.shape}, "
                f"got {target.dtype.name} of shape {target.shape}."
            )
        np.copyto(target, array)
    return out
