"""Dynamic batching: what runs together, in which order, and that each request gets its own answer."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgeward
from edgeward.serve import batching
from edgeward.serve.batching import Batcher, Tensors, Waiting
from edgeward_runtimes.errors import EngineError, InputError
from edgeward_runtimes.manifest import Tensor
from edgeward_runtimes.model import Model

Make = Callable[..., Path]
# Requests as (samples, width, dtype): a model of the tests takes width 2 and float32.
REQUESTS = st.lists(st.tuples(st.integers(0, 6), st.sampled_from([1, 2]), st.sampled_from(["f4", "i4"])), max_size=20)


def _request(number: int, samples: int, width: int = 2, dtype: str = "f4") -> Tensors:
    return {"x": np.full((samples, width), number, dtype)}


def _waiting(inputs: Tensors) -> Waiting:
    return Waiting(inputs, batching.samples_in(inputs), batching.kind_of(inputs), 0.0, None)  # type: ignore[arg-type]


class _Double:
    """Doubles; takes no samples of another width than 2, and fails where a 13 is among them."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, inputs: Tensors) -> Mapping[str, np.ndarray]:
        x = inputs["x"]
        if x.shape[1:] != (2,) or x.dtype != np.float32 or not len(x):
            raise InputError(f"no {x.dtype} of {x.shape}")
        self.batches.append(len(x))
        if (x == 13).any():
            raise EngineError("13")
        return {"y": x * np.float32(2)}


@given(REQUESTS, st.integers(1, 8))
def test_batches_keep_the_order_and_the_limit_and_each_request_has_its_own_answer(requests: list, limit: int) -> None:
    queue = [_waiting(_request(number, *request)) for number, request in enumerate(requests)]
    model = _Double()
    answers: list[object] = []
    while queue:
        count, _ = batching.next_batch(queue, limit)
        assert count >= 1
        batch, queue = queue[:count], queue[count:]
        assert count == 1 or sum(each.samples for each in batch) <= limit
        answers += batching.run(model, [each.inputs for each in batch])
    for number, (request, answer) in enumerate(zip(requests, answers, strict=True)):
        x = _request(number, *request)["x"]
        if x.shape[1] != 2 or x.dtype != np.float32 or not len(x):
            assert isinstance(answer, InputError)
            assert str(answer) == f"no {x.dtype} of {x.shape}"
        elif number == 13:
            assert isinstance(answer, EngineError)
        else:
            np.testing.assert_array_equal(answer["y"], x * np.float32(2))  # type: ignore[index]


def test_a_request_that_fails_in_a_batch_fails_alone() -> None:
    model = _Double()
    answers = batching.run(model, [_request(1, 2), _request(13, 1), _request(3, 1)])
    assert [isinstance(answer, Exception) for answer in answers] == [False, True, False]
    assert model.batches == [4, 2, 1, 1]


def test_a_model_that_mixes_its_samples_is_asked_for_each_request_alone() -> None:
    def total(inputs: Tensors) -> Tensors:
        return {"y": inputs["x"].sum(axis=0, keepdims=True)}

    answers = batching.run(total, [_request(1, 2), _request(5, 3)])
    assert [answer["y"].tolist() for answer in answers] == [[[2, 2]], [[15, 15]]]  # type: ignore[index]


def test_what_no_later_request_can_join_runs_at_once() -> None:
    two, three, other = (_waiting(_request(0, 2)), _waiting(_request(0, 3)), _waiting(_request(0, 1, width=1)))
    empty = _waiting(_request(0, 0))
    assert batching.next_batch([], 4) == (0, False)
    assert batching.next_batch([two], 4) == (1, False)
    assert batching.next_batch([two, two], 4) == (2, True)
    assert batching.next_batch([two, three], 4) == (1, True)
    assert batching.next_batch([two, other], 4) == (1, True)
    assert batching.next_batch([three], 2) == (1, True)
    assert batching.next_batch([empty, two], 4) == (1, True)


def _predict_all(model: Model, requests: list[Tensors], **settings: float) -> list[object]:
    async def predict_all() -> list[object]:
        batcher = Batcher(model, **{"max_samples": 32, "max_delay_s": 0.2, **settings})
        async with batcher.running():
            return await asyncio.gather(*map(batcher.predict, requests), return_exceptions=True)

    return asyncio.run(predict_all())


def test_requests_that_come_together_are_one_prediction(multiply_bundle: Make) -> None:
    with edgeward.load(multiply_bundle()) as model:
        answers = _predict_all(model, [_request(number, 1 + number % 3) for number in range(12)])
        assert [answer["y"][0, 0] for answer in answers] == [2 * number for number in range(12)]  # type: ignore[index]
        assert [len(answer["y"]) for answer in answers] == [1 + number % 3 for number in range(12)]  # type: ignore[index]
        assert model.latency.predictions == 1


def test_a_batch_size_of_one_batches_nothing(multiply_bundle: Make) -> None:
    with edgeward.load(multiply_bundle()) as model:
        _predict_all(model, [_request(number, 1) for number in range(5)], max_samples=1)
        assert model.latency.predictions == 5


def test_a_wrong_request_among_good_ones_is_refused_alone(multiply_bundle: Make) -> None:
    with edgeward.load(multiply_bundle()) as model:
        requests = [
            _request(1, 1),
            _request(2, 1, dtype="i4"),
            _request(3, 1),
            {"z": np.ones((1, 2))},
            _request(4, 0),
            {},
        ]
        answers = _predict_all(model, requests)
        good = [answer["y"][0, 0] for answer in answers if not isinstance(answer, Exception)]  # type: ignore[index]
        assert good == [2, 6]
        assert [type(answer) for answer in answers if isinstance(answer, Exception)] == [InputError] * 4
        assert model.latency.errors == 0


@pytest.mark.parametrize(
    ("shape", "quantization", "expected"),
    [((None, 2), None, True), ((None, 2), "static", True), ((None, 2), "dynamic", False), ((1, 2), None, False)],
)
def test_only_what_cannot_depend_on_its_neighbours_is_batched(
    shape: tuple, quantization: str | None, expected: bool
) -> None:
    class Described:
        inputs = outputs = (Tensor(name="x", shape=shape, dtype="float32"),)
        variant = type("Choice", (), {"quantization": quantization})

    assert batching.is_batchable(Described()) is expected  # type: ignore[arg-type]
