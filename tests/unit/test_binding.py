"""Between the caller's tensors and an engine's, on sessions that tell what reached them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeward_runtimes.binding import Binding
from edgeward_runtimes.engines import Placement, Port
from edgeward_runtimes.errors import EngineError, InputError
from edgeward_runtimes.manifest import Tensor

Array = np.ndarray
OUT = Tensor(name="y", shape=(None, 2), dtype="float32")


class Echo:
    """A session whose outputs are its inputs, cut or summed to the outputs' shapes by a function."""

    placement = Placement()

    def __init__(self, inputs: Sequence[Port], outputs: Sequence[Port], answer: Any) -> None:
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self.ran: list[list[Array]] = []
        self._answer = answer

    def prepare(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        for port, shape in zip(self.inputs, shapes, strict=True):
            assert all(size in (None, given) for size, given in zip(port.shape, shape, strict=True))

    def run(self, inputs: Sequence[Array], keep: bool) -> list[Array]:
        self.ran.append([array.copy() for array in inputs])
        return self._answer(*inputs)

    def another(self) -> "Echo":
        return Echo(self.inputs, self.outputs, self._answer)


def _as_float(*inputs: Array) -> list[Array]:
    return [np.asarray(inputs[0], np.float32)]


def _taking(dtype: str, given: str, batch: int | None = None) -> tuple[Echo, Binding]:
    """A session with one input of a dtype where the manifest has another."""
    session = Echo([Port("ids", (batch, 2), dtype)], [Port("y", (batch, 2), "float32")], _as_float)
    return session, Binding(session, [Tensor(name="ids", shape=(None, 2), dtype=given)], [OUT])


INT32 = st.integers(-(2**31), 2**31 - 1)


@given(st.lists(st.tuples(INT32, INT32), min_size=1, max_size=4))
def test_integers_that_fit_go_into_a_narrower_type_as_they_are(rows: list[tuple[int, int]]) -> None:
    session, binding = _taking("int32", "int64")
    binding.run(np.array(rows, np.int64))
    (fed,) = session.ran[0]
    assert fed.dtype == np.int32
    assert fed.tolist() == [list(row) for row in rows]


@given(st.integers(2**31, 2**63 - 1) | st.integers(-(2**63), -(2**31) - 1), st.integers(0, 3))
def test_an_integer_that_does_not_fit_is_named_and_never_another_number(wild: int, place: int) -> None:
    session, binding = _taking("int32", "int64")
    ids = np.array([[1, 2], [3, 4]], np.int64)
    ids.flat[place] = wild
    with pytest.raises(InputError, match=r"Input 'ids' holds values from .* takes int32: -2147483648 to 2147483647"):
        binding.run(ids)
    assert session.ran == []


def test_a_sign_that_is_not_there_is_told() -> None:
    session, binding = _taking("uint8", "int8")
    with pytest.raises(InputError, match=r"holds values from -1 to 1, but this variant takes uint8: 0 to 255"):
        binding.run(np.array([[-1, 1]], np.int8))
    binding.run(np.array([[0, 127]], np.int8))
    assert session.ran[0][0].tolist() == [[0, 127]]


@pytest.mark.parametrize(("dtype", "given_dtype"), [("uint8", "bool"), ("int64", "int32"), ("bool", "bool")])
def test_what_always_fits_goes_in(dtype: str, given_dtype: str) -> None:
    session, binding = _taking(dtype, given_dtype)
    binding.run(np.array([[0, 1]], given_dtype))
    assert session.ran[0][0].dtype == np.dtype(dtype)
    assert session.ran[0][0].tolist() == [[0, 1]]


STATE = Tensor(name="state", shape=(1, 3), dtype="float32")
BATCHED = Tensor(name="x", shape=(None, 2), dtype="float32")
_PORTS = [Port("x", (2, 2), "float32"), Port("state", (1, 3), "float32")]


@pytest.mark.parametrize("samples", [1, 2, 3, 5])
def test_an_input_without_a_batch_axis_goes_along_with_every_part(samples: int) -> None:
    session = Echo(_PORTS, [Port("y", (2, 2), "float32")], lambda x, state: [x + state.sum()])
    binding = Binding(session, [STATE, BATCHED], [OUT])
    x = np.arange(2 * samples, dtype=np.float32).reshape(samples, 2)
    state = np.array([[1, 2, 3]], np.float32)
    np.testing.assert_array_equal(binding.run({"x": x, "state": state}), x + 6)
    assert len(session.ran) == -(-samples // 2)


def test_an_output_without_a_batch_axis_is_not_put_together_from_parts() -> None:
    total = Tensor(name="total", shape=(2,), dtype="float32")
    ports = [Port("y", (2, 2), "float32"), Port("total", (2,), "float32")]
    session = Echo(_PORTS[:1], ports, lambda x: [x, x.sum(0)])
    binding = Binding(session, [BATCHED], [OUT, total])
    assert binding.run(np.ones((2, 2), np.float32))["total"].tolist() == [2, 2]
    with pytest.raises(InputError, match=r"takes 2 samples at a time, and its output 'total' has no .* Pass 2"):
        binding.run(np.ones((3, 2), np.float32))
    assert len(session.ran) == 1


def test_outputs_that_turn_out_to_have_no_batch_first_are_an_engine_error() -> None:
    session = Echo(_PORTS[:1], [Port("y", (None, 2), "float32")], lambda x: [np.ones((1, 2), np.float32)])
    with pytest.raises(EngineError, match="do not have the 2 samples"):
        Binding(session, [BATCHED], [OUT]).run(np.ones((3, 2), np.float32))


def test_inputs_of_different_fixed_batches_are_refused_when_the_artifact_is_opened() -> None:
    inputs = [BATCHED, Tensor(name="z", shape=(None, 2), dtype="float32")]
    session = Echo([Port("x", (2, 2), "float32"), Port("z", (3, 2), "float32")], [Port("y", (2, 2), "float32")], None)
    with pytest.raises(EngineError, match="batches of different sizes"):
        Binding(session, inputs, [OUT])


class Direct(Echo):
    """A session with a shorter way, which counts how often it was taken."""

    def prepare(self, shapes: tuple[tuple[int, ...], ...]) -> Any:
        self.direct_runs = 0

        def direct(array: Array) -> Array:
            assert array.shape == shapes[0]
            self.direct_runs += 1
            return array * 2

        return direct


def test_the_shorter_way_is_offered_for_the_shape_of_the_last_run_alone() -> None:
    session = Direct([Port("x", (None, 2), "float32")], [Port("y", (None, 2), "float32")], lambda x: [x * 2])
    binding = Binding(session, [BATCHED], [OUT])
    assert binding.shape is None
    for samples in (1, 3, 3, 1):
        binding.run(np.ones((samples, 2), np.float32))
        assert binding.shape == (samples, 2)
        assert binding.direct(np.ones((samples, 2), np.float32)).tolist() == [[2, 2]] * samples
    with pytest.raises(InputError):
        binding.run(np.ones((1, 3), np.float32))
    assert binding.shape is None


def test_the_shorter_way_is_not_taken_past_a_conversion() -> None:
    quantized = Direct([Port("x", (None, 2), "int8", 0.5)], [Port("y", (None, 2), "float32")], lambda x: [x * 0.5])
    integer = Direct([Port("x", (None, 2), "float32")], [Port("y", (None, 2), "int8", 0.5)], lambda x: [np.int8(x)])
    for session in (quantized, integer):
        binding = Binding(session, [BATCHED], [OUT])
        binding.run(np.ones((1, 2), np.float32))
        assert binding.shape is None
