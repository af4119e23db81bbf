"""Dynamic batching: requests that come close together run as one prediction, and each gets its own answer.

- Requests run in the order in which they came. A batch is the first that waits and those right behind it that fit it,
  up to so many samples; it starts when it is full, or when its first request has waited long enough, or at once when
  one behind it does not fit. While a batch runs, the next one fills.
- Two requests fit when their inputs agree in name, dtype and every dimension but the batch. Such requests are right or
  wrong together, so a wrong one spoils no other; and when a batch fails all the same, each of it runs again for itself.
- Nothing is batched where an answer could depend on its neighbours or not be told apart from theirs: when an input or
  output has no free batch axis, and when a variant is quantized dynamically. ONNX Runtime takes the range of such
  activations over the whole batch: one picture forty times too bright moved the others' probabilities by 0.07.
- A prediction is counted as the model counts: one for a batch, and after a batch that failed, its error and then
  one for each request that ran again.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from msgspec import Struct

from edgeward_runtimes.binding import Array
from edgeward_runtimes.errors import EdgewardError, EngineError
from edgeward_runtimes.model import Model

Tensors = Mapping[str, Array]
Predict = Callable[[Tensors], Tensors]


class Waiting(Struct, frozen=True, eq=False):
    """A request in the queue. `kind` is what it may share a batch with; None: nothing."""

    inputs: Tensors
    samples: int
    kind: Hashable | None
    arrived_s: float
    answer: "asyncio.Future[Tensors]"


def samples_in(inputs: Tensors) -> int:
    """How many samples a request holds; one, where no input has a batch axis."""
    return max((array.shape[0] for array in inputs.values() if array.ndim), default=1)


def kind_of(inputs: Tensors) -> Hashable | None:
    """What two requests must agree in to run together; None when this one must run alone."""
    sizes = {array.shape[:1] for array in inputs.values()}
    if len(sizes) != 1 or sizes & {(), (0,)}:
        return None  # the model will say what is wrong with it
    return frozenset((name, array.dtype.str, array.shape[1:]) for name, array in inputs.items())


def next_batch(waiting: Iterable[Waiting], max_samples: int) -> tuple[int, bool]:
    """How many of those waiting, from the first on, run together; and whether no later one could still join."""
    count, samples, kind = 0, 0, None
    for each in waiting:
        if count and (each.kind != kind or samples + each.samples > max_samples):
            return count, True
        count, samples, kind = count + 1, samples + each.samples, each.kind
        if kind is None or samples >= max_samples:
            return count, True
    return count, False


def run(predict: Predict, batch: Sequence[Tensors]) -> list[Tensors | Exception]:
    """Predict a batch; the answer, or the error, of each request in order."""
    if len(batch) > 1:
        with contextlib.suppress(EdgewardError):
            return list(_run_together(predict, batch))
    answers: list[Tensors | Exception] = []
    for inputs in batch:
        try:
            answers.append(predict(inputs))
        except Exception as error:  # whatever it is, it is this request's answer, and the next one's turn
            answers.append(error)
    return answers


def _run_together(predict: Predict, batch: Sequence[Tensors]) -> list[Tensors]:
    """Predict the concatenation and split what comes of it. Raises EngineError when it cannot be split."""
    sizes = [len(next(iter(inputs.values()))) for inputs in batch]
    outputs = predict({name: np.concatenate([inputs[name] for inputs in batch]) for name in batch[0]})
    if any(array.shape[:1] != (sum(sizes),) for array in outputs.values()):
        raise EngineError(f"A batch of {sum(sizes)} samples came back as another number of samples.")
    ends = np.cumsum(sizes).tolist()
    spans = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    return [{name: array[span] for name, array in outputs.items()} for span in spans]


def is_batchable(model: Model) -> bool:
    """Whether requests to a model may share a prediction."""
    free = all(tensor.shape[:1] == (None,) for tensor in (*model.inputs, *model.outputs))
    return free and model.variant.quantization != "dynamic"


class Batcher:
    """Runs requests to one model on a thread of its own. Belongs to one event loop."""

    def __init__(self, model: Model, *, max_samples: int, max_delay_s: float) -> None:
        self._model = model
        self._max_samples = max_samples
        self._max_delay_s = max_delay_s
        self._waiting: deque[Waiting] = deque()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        """Whether requests are answered."""
        return self._task is not None and not self._task.done()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answer requests while the context is open; a prediction under way at its end is awaited."""
        with ThreadPoolExecutor(1, thread_name_prefix="edgeward-serve") as thread:
            self._task = asyncio.create_task(self._serve(thread))
            try:
                yield
            finally:
                self._task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._task

    async def predict(self, inputs: Tensors) -> Tensors:
        """Await the outputs, by name, for inputs by name. Raises what `Model.predict` raises."""
        kind = kind_of(inputs) if is_batchable(self._model) else None
        loop = asyncio.get_running_loop()
        waiting = Waiting(inputs, samples_in(inputs), kind, loop.time(), loop.create_future())
        self._waiting.append(waiting)
        self._changed.set()
        return await waiting.answer

    async def _serve(self, thread: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._next_batch(loop)
            answers = await loop.run_in_executor(thread, run, self._predict, [each.inputs for each in batch])
            for waiting, answer in zip(batch, answers, strict=True):
                if waiting.answer.done():
                    continue  # whoever asked has gone
                if isinstance(answer, Exception):
                    waiting.answer.set_exception(answer)
                else:
                    waiting.answer.set_result(answer)

    async def _next_batch(self, loop: asyncio.AbstractEventLoop) -> list[Waiting]:
        while True:
            count, is_complete = next_batch(self._waiting, self._max_samples)
            wait_s = self._waiting[0].arrived_s + self._max_delay_s - loop.time() if count else None
            if count and (is_complete or (wait_s is not None and wait_s <= 0)):
                return [self._waiting.popleft() for _ in range(count)]
            self._changed.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait_s)

    def _predict(self, inputs: Tensors) -> Tensors:
        predicted = self._model.predict(inputs)
        return predicted if isinstance(predicted, dict) else {self._model.outputs[0].name: predicted}
