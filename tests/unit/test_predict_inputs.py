"""Whatever comes into `predict`: a right answer or an InputError, never a crash, on every engine and precision.

Two real models, one of a single float input and one of a float and an integer input with two outputs, each with a free
batch axis and with a graph that takes four samples only. Right answers are the source model's own, from the bundle's
golden samples: every batch here is made of those. What hypothesis draws goes through every variant of every bundle.
"""

import gc
import mmap
import tempfile
import threading
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgeward
from edgeward_runtimes.bundle import Bundle
from tests.fixed_batch import with_fixed_batch

Array = np.ndarray
ENGINES, PRECISIONS = ("litert", "onnxruntime", "openvino"), ("fp32", "int8")
FIXED_BATCH = 4
# Bundle and variant: all of them as converted, and each engine on a graph of a fixed batch.
SUBJECTS = (
    *(
        (name, f"{engine}-{precision}")
        for name in ("digits", "sensors")
        for engine in ENGINES
        for precision in PRECISIONS
    ),
    *(("digits-fixed", f"{engine}-int8") for engine in ENGINES),
    *(("sensors-fixed", f"{engine}-fp32") for engine in ENGINES),
)
_TIMES = settings(max_examples=40)
SAMPLES = st.lists(st.integers(0, 15), min_size=1, max_size=2 * FIXED_BATCH + 1)


class Subject:
    """One variant, opened, with the source's answers and a count of its own."""

    def __init__(self, path: Path, variant: str) -> None:
        self.name = f"{path.stem}:{variant}"
        bundle = Bundle.open(path)
        self.golden = bundle.golden()
        self.model = edgeward.load(path, variant=variant, threads=1)
        self._tolerance = bundle.manifest.golden.tolerance[variant]
        self._answered = 0

    def __repr__(self) -> str:
        return self.name

    def inputs(self, samples: list[int]) -> dict[str, Array]:
        """The golden samples of these places, as one batch in memory of its own."""
        return {name: array[samples] for name, array in self.golden.inputs.items()}

    def asked(self, inputs: dict[str, Any]) -> Any:
        """As `predict` takes it: the array alone where there is one input."""
        return inputs if len(self.model.inputs) > 1 else next(iter(inputs.values()))

    def predict(self, x: Any, **options: Any) -> dict[str, Array]:
        """Predict; a warning is a failure, for it would stand in some user's log at every call."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            answer = self.model.predict(x, **options)
        self._answered += 1
        return self.named(answer)

    def fill(self, x: Any, out: dict[str, Array]) -> None:
        """Predict into arrays, which are what comes back."""
        given_out = out if len(out) > 1 else next(iter(out.values()))
        assert self.model.predict(x, out=given_out) is given_out
        self._answered += 1

    def named(self, answer: Any) -> dict[str, Array]:
        """An answer by the outputs' names, also where there is one."""
        return answer if isinstance(answer, dict) else {self.model.outputs[0].name: answer}

    def refuse(self, x: Any, **options: Any) -> None:
        """Expect an InputError, and nothing counted."""
        with pytest.raises(edgeward.InputError):
            self.predict(x, **options)

    def check(self, answer: dict[str, Array], samples: list[int], but_for: set[int] = frozenset()) -> None:
        """The answer is the source's for every sample of the batch, but for those at some places."""
        places = [place for place in range(len(samples)) if place not in but_for]
        for tensor in self.model.outputs:
            given, expected = answer[tensor.name], self.golden.outputs[tensor.name][samples]
            assert type(given) is Array
            assert (given.shape, given.dtype) == (expected.shape, np.dtype(tensor.dtype))
            allowed = self._tolerance[tensor.name].max_abs_error
            np.testing.assert_allclose(given[places], expected[places], rtol=0, atol=allowed)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Exactly the calls answered meanwhile are counted as predictions, and none as an error."""
        self._answered, before = 0, self.model.latency
        try:
            yield
        except BaseException as error:
            error.add_note(f"by {self.name}")
            raise
        after = self.model.latency
        assert after.predictions - before.predictions == self._answered
        assert after.errors == before.errors


@pytest.fixture(scope="session")
def sensors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`sensors.edge`: a float and an integer input, two outputs, all six variants."""
    import keras

    keras.utils.set_random_seed(3)
    inputs = [keras.Input((3,), name="readings"), keras.Input((4,), name="codes", dtype="int32")]
    embedded = keras.layers.Flatten()(keras.layers.Embedding(8, 4)(inputs[1]))
    hidden = keras.layers.Dense(16, activation="tanh")(keras.layers.Concatenate()([inputs[0], embedded]))
    outputs = [
        keras.layers.Dense(2, name="level")(hidden),
        keras.layers.Dense(3, name="state", activation="softmax")(hidden),
    ]
    random = np.random.default_rng(0)
    calibration = {
        "readings": random.normal(size=(64, 3)).astype(np.float32),
        "codes": random.integers(0, 8, (64, 4)).astype(np.int32),
    }
    bundle = edgeward.convert(keras.Model(inputs, outputs), name="sensors", calibration=calibration, max_drop=0.05)
    assert len(bundle.manifest.variants) == 6
    return bundle.save(tmp_path_factory.mktemp("sensors") / "sensors.edge").path


@pytest.fixture(scope="session")
def paths(digits: Path, sensors: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The bundles by name: each as it was converted, and with a graph of a fixed batch."""
    found = {"digits": digits / "digits.edge", "sensors": sensors}
    folder = tmp_path_factory.mktemp("fixed")
    for name, path in list(found.items()):
        fixed = folder / f"{name}-fixed.edge"
        found[fixed.stem] = with_fixed_batch(Bundle.open(path), FIXED_BATCH, fixed).path
    return found


@pytest.fixture(scope="module")
def subjects(paths: dict[str, Path]) -> Iterator[list[Subject]]:
    """All of `SUBJECTS`, opened."""
    with ExitStack() as stack:
        opened = [Subject(paths[name], variant) for name, variant in SUBJECTS]
        for subject in opened:
            stack.enter_context(subject.model)
        yield opened


def _memory_mapped(array: Array) -> Array:
    with tempfile.TemporaryFile() as stream:
        mapped = np.memmap(stream, array.dtype, "w+", shape=array.shape)
    mapped[...] = array
    return mapped


def _unaligned(array: Array) -> Array:
    whole = np.empty(array.nbytes + 1, np.uint8)
    inside = whole[1:].view(array.dtype).reshape(array.shape)
    inside[...] = array
    return inside


def _strided(array: Array) -> Array:
    return np.repeat(array, 2, axis=-1)[..., ::2]


def _read_only(array: Array) -> Array:
    array.flags.writeable = False
    return array


def _in_a_mapping(array: Array) -> Array:
    inside = np.frombuffer(mmap.mmap(-1, array.nbytes), array.dtype).reshape(array.shape)
    inside[...] = array
    return inside


class Tagged(np.ndarray):
    """A subclass such as units or labels make."""


# Arrays that hold what they held: each must be answered.
LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "contiguous": np.ascontiguousarray,
    "Fortran order": np.asfortranarray,
    "every second element": _strided,
    "backwards": lambda array: array[::-1].copy()[::-1],
    "axes swapped": lambda array: np.ascontiguousarray(array.swapaxes(0, -1)).swapaxes(0, -1),
    "unaligned": _unaligned,
    "read-only": _read_only,
    "numpy.memmap": _memory_mapped,
    "memory of an mmap": _in_a_mapping,
    "masked array": np.ma.masked_array,
    "subclass": lambda array: array.view(Tagged),
    "numpy.matrix": lambda array: np.asmatrix(array) if array.ndim == 2 else array,
    "explicit native order": lambda array: array.astype(array.dtype.newbyteorder("=")),
}
# What is no such array any more: each must be refused.
SPOILED: dict[str, Callable[[Array], Any]] = {
    "float64": lambda array: array.astype(np.float64),
    "float16": lambda array: array.astype(np.float16),
    "int64": lambda array: array.astype(np.int64),
    "bool": lambda array: array.astype(bool),
    "complex": lambda array: array.astype(np.complex64),
    "objects": lambda array: array.astype(object),
    "strings": lambda array: array.astype(str),
    "records": lambda array: np.zeros(array.shape, [("value", array.dtype)]),
    "byte-swapped": lambda array: array.astype(array.dtype.newbyteorder()),
    "no sample": lambda array: array[:0],
    "no element": lambda array: array[..., :0],
    "no batch axis": lambda array: array[0],
    "an axis more": lambda array: array[None],
    "an element more": lambda array: np.concatenate([array, array[..., :1]], axis=-1),
    "flat": lambda array: array.ravel(),
    "zero axes": lambda array: array.ravel()[0].reshape(()),
    "numpy scalar": lambda array: array.ravel()[0],
    "list": lambda array: array.tolist(),
    "tuple": tuple,
    "bytes": lambda array: array.tobytes(),
    "memoryview": lambda array: memoryview(np.ascontiguousarray(array)),
    "number": lambda array: 1.0,
    "text": lambda array: "x",
    "None": lambda array: None,
    "set": lambda array: {1.0},
    "class": lambda array: np.ndarray,
    "iterator": iter,
}
# The same for what is passed as a whole.
MISNAMED: dict[str, Callable[[dict[str, Array]], Any]] = {
    "nothing": lambda inputs: {},
    "one more": lambda inputs: {**inputs, "more": next(iter(inputs.values()))},
    "one less": lambda inputs: dict(list(inputs.items())[1:]),
    "another name": lambda inputs: {f"{name}_0": array for name, array in inputs.items()},
    "numbers for names": lambda inputs: dict(enumerate(inputs.values())),
    "a list of them": lambda inputs: list(inputs.values()),
    "pairs": lambda inputs: list(inputs.items()),
    "the names": list,
    "a dict in a dict": lambda inputs: {name: {name: array} for name, array in inputs.items()},
}
# Places to write to that hold the answer: each must be filled and returned.
PLACES = sorted(set(LAYOUTS) - {"read-only", "numpy.matrix"})
# And those that cannot: each must be refused.
UNFIT: dict[str, Callable[[Array], Any]] = {
    **{name: spoil for name, spoil in SPOILED.items() if name not in ("None", "no element")},
    "read-only": _read_only,
    "a sample more": lambda array: np.concatenate([array, array[:1]]),
}


@given(samples=SAMPLES, layouts=st.tuples(*[st.sampled_from(sorted(LAYOUTS))] * 2))
@_TIMES
def test_an_array_is_answered_as_the_source_does_however_it_lies_in_memory(
    subjects: list[Subject], samples: list[int], layouts: tuple[str, str]
) -> None:
    for subject in subjects:
        with subject.counting():
            inputs = subject.inputs(samples)
            laid = {name: LAYOUTS[way](array) for (name, array), way in zip(inputs.items(), layouts, strict=False)}
            subject.check(subject.predict(subject.asked(laid)), samples)
            subject.check(subject.predict(laid), samples)
            for name, array in laid.items():
                np.testing.assert_array_equal(array, subject.golden.inputs[name][samples], "the caller's own changed")


@given(samples=SAMPLES, spoiler=st.sampled_from(sorted(SPOILED)), which=st.integers(0, 1))
@_TIMES
def test_what_is_not_the_array_expected_is_refused(
    subjects: list[Subject], samples: list[int], spoiler: str, which: int
) -> None:
    for subject in subjects:
        with subject.counting():
            inputs = subject.inputs(samples)
            name = list(inputs)[which % len(inputs)]
            spoiled = {**inputs, name: SPOILED[spoiler](inputs[name])}
            subject.refuse(spoiled)
            subject.refuse(subject.asked(spoiled))
            subject.check(subject.predict(subject.asked(subject.inputs(samples))), samples)


@given(samples=SAMPLES, misnamed=st.sampled_from(sorted(MISNAMED)))
@_TIMES
def test_inputs_under_other_names_are_refused(subjects: list[Subject], samples: list[int], misnamed: str) -> None:
    for subject in subjects:
        with subject.counting():
            subject.refuse(MISNAMED[misnamed](subject.inputs(samples)))


@given(sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)).filter(lambda sizes: sizes[0] != sizes[1]))
@_TIMES
def test_inputs_of_different_batch_sizes_are_refused(subjects: list[Subject], sizes: tuple[int, int]) -> None:
    for subject in subjects:
        if len(subject.model.inputs) > 1:
            arrays = subject.golden.inputs.items()
            with subject.counting():
                subject.refuse({name: array[:size] for (name, array), size in zip(arrays, sizes, strict=True)})


_WILD = st.floats(width=32) | st.sampled_from([np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e-45, -0.0])


@given(samples=SAMPLES, wild=st.dictionaries(st.integers(0, 8), _WILD, max_size=4), everywhere=st.booleans())
@_TIMES
def test_no_number_crashes_and_none_touches_the_other_samples(
    subjects: list[Subject], samples: list[int], wild: dict[int, float], everywhere: bool
) -> None:
    wild = {place: value for place, value in wild.items() if place < len(samples)}
    for subject in subjects:
        inputs = subject.inputs(samples)
        floats = next(array for array in inputs.values() if array.dtype == np.float32).reshape(len(samples), -1)
        for place, value in wild.items():
            floats[place, : None if everywhere else 1] = value
        with subject.counting():
            subject.check(subject.predict(subject.asked(inputs)), samples, but_for=set(wild))


@given(samples=SAMPLES, layouts=st.tuples(*[st.sampled_from(PLACES)] * 2))
@_TIMES
def test_out_is_filled_however_it_lies_in_memory(
    subjects: list[Subject], samples: list[int], layouts: tuple[str, str]
) -> None:
    for subject in subjects:
        empty = {name: np.full_like(array[samples], np.nan) for name, array in subject.golden.outputs.items()}
        out = {name: LAYOUTS[way](array) for (name, array), way in zip(empty.items(), layouts, strict=False)}
        with subject.counting():
            subject.fill(subject.asked(subject.inputs(samples)), out)
            subject.check({name: np.asarray(array) for name, array in out.items()}, samples)


@given(samples=SAMPLES, unfit=st.sampled_from(sorted(UNFIT)), which=st.integers(0, 1))
@_TIMES
def test_an_unfit_out_is_refused_and_the_next_call_is_answered(
    subjects: list[Subject], samples: list[int], unfit: str, which: int
) -> None:
    for subject in subjects:
        outputs = {name: array[samples] for name, array in subject.golden.outputs.items()}
        name = list(outputs)[which % len(outputs)]
        spoiled = {**outputs, name: UNFIT[unfit](outputs[name])}
        x = subject.asked(subject.inputs(samples))
        with subject.counting():
            for out in (spoiled, spoiled[name], {}, {**outputs, "more": outputs[name]}, list(outputs.values())):
                subject.refuse(x, out=out)
            subject.check(subject.predict(x), samples)


def test_out_may_lie_in_the_inputs_own_memory(subjects: list[Subject]) -> None:
    samples = list(range(6))
    for subject in subjects:
        if len(subject.model.inputs) == 1:
            x = subject.inputs(samples)["image"]
            out = {subject.model.outputs[0].name: x.reshape(len(samples), -1)[:, :10]}
            with subject.counting():
                subject.fill(x, out)
                subject.check(out, samples)


def _artifact(path: Path, variant: str, folder: Path) -> Path:
    release = Bundle.open(path).unpack(folder)
    return release.artifact(release.manifest.variant(variant))


@pytest.mark.parametrize("is_native", [True, False])
def test_litert_answers_by_its_public_methods_as_by_its_native_ones(
    paths: dict[str, Path], tmp_path: Path, monkeypatch, is_native: bool
) -> None:
    from edgeward_runtimes.engines import litert

    if not is_native:
        monkeypatch.setattr(litert, "_NATIVE", (*litert._NATIVE, "NotInThisVersion"))
    interpreter = litert.Interpreter(str(_artifact(paths["digits"], "litert-fp32", tmp_path)))
    assert (litert._Calls(interpreter).invoke == interpreter.invoke) is not is_native
    for name, variant in SUBJECTS:
        if not variant.startswith("litert"):
            continue
        subject = Subject(paths[name], variant)
        with subject.model, subject.counting():
            for samples in ([0], [1], list(range(5)), list(range(5)), [2], list(range(4))):
                x = subject.inputs(samples)
                subject.check(subject.predict(subject.asked(x)), samples)
                out = {each: np.zeros_like(array[samples]) for each, array in subject.golden.outputs.items()}
                subject.fill(subject.asked(x), out)
                subject.check(out, samples)


@pytest.mark.parametrize("size", [1, 3, 4, 5, 8, 63, 256])
def test_a_batch_of_any_size_is_answered(subjects: list[Subject], size: int) -> None:
    samples = [place % 16 for place in range(size)]
    for subject in subjects:
        with subject.counting():
            subject.check(subject.predict(subject.asked(subject.inputs(samples))), samples)


def test_threads_with_batches_of_different_sizes_get_their_own_answers(subjects: list[Subject]) -> None:
    def work(subject: Subject, number: int) -> None:
        random = np.random.default_rng(number)
        start.wait()
        for _ in range(20):
            samples = random.integers(0, 16, size=number + 1).tolist()
            subject.check(subject.named(subject.model.predict(subject.inputs(samples))), samples)

    for subject in subjects:
        start = threading.Barrier(6)
        before = subject.model.latency
        with ThreadPoolExecutor(6) as pool:
            for working in [pool.submit(work, subject, number) for number in range(6)]:
                working.result()
        assert subject.model.latency.predictions - before.predictions == 6 * 20


@given(
    samples=SAMPLES,
    wild=st.integers(-(2**31), 2**31 - 1) | st.sampled_from([8, -1, -8, -9]),
    place=st.tuples(st.integers(0, 8), st.integers(0, 3)),
)
@_TIMES
def test_a_code_beyond_the_table_is_answered_or_refused_by_the_engine_and_the_model_goes_on(
    subjects: list[Subject], samples: list[int], wild: int, place: tuple[int, int]
) -> None:
    for subject in subjects:
        inputs = subject.inputs(samples)
        if "codes" not in inputs or place[0] >= len(samples):
            continue
        inputs["codes"][place] = wild
        before = subject.model.latency
        try:
            subject.check(subject.predict(inputs), samples, but_for={place[0]})
            failures = 0
        except edgeward.EngineError:
            failures = 1
        assert subject.model.latency.errors == before.errors + failures
        subject.check(subject.predict(subject.inputs(samples)), samples)


def test_out_allocates_nothing(subjects: list[Subject]) -> None:
    for subject in subjects:
        few, many = (subject.asked(subject.inputs([place % 16 for place in range(size)])) for size in (16, 1024))
        assert _kept_by(subject, few) < _CALLS * 64, subject.name  # less than one array a call
        if "fixed" not in subject.name:  # those put their answers together from parts
            smallest = min(array.nbytes for array in subject.named(subject.model.predict(many)).values())
            assert _held_by(subject, many) < smallest, subject.name


_CALLS = 400


def _kept_by(subject: Subject, x: Any) -> int:
    """Bytes that many calls with the same `out=` leave allocated."""
    out = subject.model.predict(x)
    with _traced():
        subject.model.predict(x, out=out)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(_CALLS):
            subject.model.predict(x, out=out)
        gc.collect()  # Python itself keeps up to 2000 freed tuples of each size; this lets them go
        return tracemalloc.get_traced_memory()[0] - before


def _held_by(subject: Subject, x: Any) -> int:
    """Bytes that a call with `out=` holds at most while it runs."""
    out = subject.model.predict(x)
    with _traced():
        for _ in range(3):
            subject.model.predict(x, out=out)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        subject.model.predict(x, out=out)
        return tracemalloc.get_traced_memory()[1] - before


@contextmanager
def _traced() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()
