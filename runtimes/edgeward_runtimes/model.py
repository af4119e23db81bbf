"""A loaded model: `predict`, the same for every engine and precision.

Knows no engine by name. Every call is checked, run, counted and timed; a model may be shared between threads.
What a call uses is held in one `Active`, taken once at its start, so a model that watches its device can move to
another release between two predictions without dropping either.
"""

import os
from _thread import allocate_lock
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

from msgspec import Struct
from numpy import ndarray

from edgeward_runtimes import engines
from edgeward_runtimes.active import Active
from edgeward_runtimes.binding import Binding, Inputs, Outputs
from edgeward_runtimes.engines import StrPath
from edgeward_runtimes.errors import EdgewardError, EngineError, InputError
from edgeward_runtimes.latency.histogram import Histogram
from edgeward_runtimes.latency.recorder import Recorder
from edgeward_runtimes.manifest import Preprocess, Quantization, Tensor
from edgeward_runtimes.release import Release

if TYPE_CHECKING:
    from edgeward_runtimes.classification import Classification
    from edgeward_runtimes.pictures import Picture

_CACHE = "cache"  # in a release's folder: what engines build for this very machine


class Choice(Struct, frozen=True):
    """The variant that a model runs, and why this one.

    `threads` None: the engine's own number. `accelerators` are those asked for; `Model.placement` says what runs.
    """

    id: str
    engine: str
    precision: str
    quantization: Quantization | None
    reason: str
    threads: int | None = None
    accelerators: tuple[str, ...] = ()


class Latency(Struct, frozen=True):
    """What a model has counted in this process. Milliseconds; None before the first prediction."""

    histogram: Histogram
    predictions: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class Model:
    """A model to predict with; made by `edgeward.load`."""

    def __init__(self, active: Active) -> None:
        self._active = active
        self._on_close: Callable[[], None] | None = None
        self._moving = allocate_lock()
        self._is_closed = False
        self._observes = True

    @classmethod
    def open(cls, release: Release, choice: Choice, recorder: Recorder) -> "Model":
        """Open a variant of a release. Raises EngineMissingError or EngineError."""
        manifest = release.manifest
        artifact = release.place(manifest.variant(choice.id).files[0].path)
        options = engines.Options(choice.threads, choice.accelerators, release.place(_CACHE))
        binding = bind(artifact, choice.engine, manifest.inputs, manifest.outputs, options)
        return cls(Active(binding, recorder, release, choice))

    @classmethod
    def of(
        cls,
        artifact: StrPath,
        engine: str,
        inputs: tuple[Tensor, ...],
        outputs: tuple[Tensor, ...],
        threads: int | None = None,
    ) -> "Model":
        """Open an artifact that is in no bundle yet, as the converter does; it counts in private memory."""
        name, _ = os.path.splitext(os.path.basename(artifact))
        choice = Choice(name, engine, "", None, "opened as a file", threads)
        recorder = Recorder(name, "", folder=None)
        return cls(Active(bind(artifact, engine, inputs, outputs, engines.Options(threads)), recorder, None, choice))

    @property
    def name(self) -> str:
        """The model's name."""
        release = self._active.release
        return release.manifest.name if release else self.variant.id

    @property
    def release(self) -> str | None:
        """`<version>-<digest8>` of the release in use; None for an artifact that was opened as a file."""
        return self._active.release.id if self._active.release else None

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Name, shape (None: any) and dtype of each input."""
        return self._active.first.inputs

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """Name, shape (None: any) and dtype of each output."""
        return self._active.first.outputs

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Class names by index, where the bundle has them."""
        release = self._active.release
        return release.manifest.labels if release else None

    @property
    def preprocess(self) -> Preprocess | None:
        """How a picture becomes the input, where the bundle says so."""
        release = self._active.release
        return release.manifest.preprocess if release else None

    @property
    def variant(self) -> Choice:
        """The variant in use and the reason for it."""
        return self._active.choice

    @property
    def placement(self) -> engines.Placement:
        """What the variant runs on, and why not on what was asked for."""
        return self._active.first.placement

    @property
    def latency(self) -> Latency:
        """Counts and latency quantiles of this process's predictions with the release in use."""
        errors, histogram = self._active.recorder.read()
        p50, p95, p99 = (histogram.quantile_ms(quantile) for quantile in (0.5, 0.95, 0.99))
        return Latency(histogram, histogram.count, errors, p50, p95, p99)

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
            EngineError: When the engine failed; counted as an error. When the model is closed.
        """
        active = self._active
        start = perf_counter_ns()
        try:
            binding = active.take()
        except IndexError:  # all are predicting on other threads
            binding = active.first.another()
        try:
            if out is None and type(x) is ndarray and x.dtype is binding.dtype and x.shape == binding.shape:
                answer: Outputs = binding.direct(x)
            else:
                answer = binding.run(x, out)
        except InputError:
            active.give_back(binding)
            raise
        except Exception as error:  # an engine raises what it likes; its session is not used again
            raise active.failed(error) from error
        active.give_back(binding)
        active.count(perf_counter_ns() - start)
        if start > active.due:
            active.look(x, answer)
        return answer

    @overload
    def classify(self, image: "Picture", *, top: int = 5) -> "list[Classification]": ...
    @overload
    def classify(self, image: list[Any] | tuple[Any, ...], *, top: int = 5) -> "list[list[Classification]]": ...
    def classify(self, image: Any, *, top: int = 5) -> Any:
        """Say what a picture shows, prepared as the bundle's `preprocess` says (see `Preprocess` for the steps).

        Args:
            image: A path, a PIL image, or uint8 pixels (height, width) or (height, width, channels); or a list or tuple
                of those, or pixels (n, height, width, channels), for one prediction of the batch.
            top: How many classes to give at most.

        Returns:
            The best classes, best first; for a batch a list of them per picture. A score is the output's own value.

        Raises:
            InputError: When it is no picture, or the model no classifier of pictures.
            EdgewardError: When a file is to be read, or resized as Pillow does, and Pillow is not installed.
            EngineError: As `predict`.
        """
        from edgeward_runtimes.classification import classify  # for those who classify

        return classify(Model(self._active), image, top)  # one release from beginning to end

    async def predict_async(self, x: Inputs) -> Outputs:
        """Await `predict` on a thread of the event loop's pool."""
        import asyncio  # 20 ms that a plain predict must not pay for

        return await asyncio.to_thread(self.predict, x)

    def stream(self, batches: Iterable[Inputs], *, depth: int = 4) -> Iterator[Outputs]:
        """Predict each of `batches`, in order, while a thread of its own fetches the next ones.

        Args:
            batches: What `predict` takes, each in memory of its own. Put what prepares them here, as a generator or
                `map`: it runs beside the engine.
            depth: How many to fetch ahead at most.

        Returns:
            What `predict` returns, batch by batch. What `batches` or a prediction raises comes in its place, and is
            the end. A stream that is abandoned (`break`, `close`) fetches one batch more at most.
        """
        from edgeward_runtimes.streaming import stream  # threads, which a plain predict must not pay for

        return stream(self.predict, batches, depth)

    def feedback(self, y_true: Any, answer: Outputs | None = None) -> int:
        """Say what was true, so that the fleet sees how many of the latest 1,000 answers were right.

        Args:
            y_true: A class index or label, or one for each sample of the batch.
            answer: What `predict` returned for it. By default the latest answer of this thread, which is remembered
                from the first such call on: that one judges nothing yet, and no answer is judged twice.

        Returns:
            How many samples were judged.

        Raises:
            InputError: When the model is no classifier, or `y_true` does not fit its classes or the answer.
        """
        active = self._active
        judged = active.observer().feedback(y_true, answer)
        if answer is None:
            active.due = 0  # every answer is remembered
        return judged

    @property
    def accuracy(self) -> float | None:
        """The share of right ones among the latest 1,000 answers that `feedback` judged in this process."""
        return self._active.accuracy

    @property
    def observe(self) -> bool:
        """Whether samples of an installed model's predictions are looked at, for drift; set it to False to end that."""
        return self._observes

    @observe.setter
    def observe(self, wanted: bool) -> None:
        self._observes = wanted
        if not wanted:
            self._active.stop_observing()

    def observe_under(self, root: str, run: str) -> None:
        """Look at samples of the predictions, and count them under a device's two folders; `load` does it."""
        self._active.observe_under(root, run)

    def move_to(self, other: "Model") -> None:
        """Take over another model's release for all predictions that start from now on.

        One under way ends, and is counted, on the release that it began on; the last of them lets go of it.
        """
        with self._moving:
            if self._is_closed:  # while the other was being opened
                other.close()
            else:
                if not self._observes:
                    other._active.stop_observing()
                self._active = other._active

    def on_close(self, action: Callable[[], None]) -> None:
        """Have `action` called when the model is closed."""
        self._on_close = action

    def close(self) -> None:
        """Stop watching and let go of the latency file; its counts stay for the agent, and in `latency`."""
        if self._on_close is not None:
            self._on_close()
        with self._moving:
            self._is_closed = True
            self._active.take = _refuse
            self._active.recorder.close()
            self._active.stop_observing()

    def __enter__(self) -> "Model":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Model {self.variant.id}: {self.variant.reason}>"


def _refuse() -> Binding:
    raise EngineError("The model is closed. Load it again to predict.")


def bind(
    artifact: StrPath, engine: str, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], options: engines.Options
) -> Binding:
    """Open an artifact with its engine behind the manifest's tensors. Raises EngineError."""
    try:
        return Binding(engines.open_session(engine, artifact, options), inputs, outputs)
    except EdgewardError:
        raise
    except Exception as error:  # whatever an engine's loader throws, natively or not
        raise EngineError(f"{engine} cannot open {os.path.basename(artifact)}: {error}") from error
