"""`load` and `predict` above any engine: inputs, batches, quantized I/O, counting, threads. Uses a plug-in engine."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgeward
from edgeward_runtimes.home import Home
from edgeward_runtimes.install import installer
from tests.conftest import wait_for

X = np.array([[1.0, -2.0], [0.5, 3.0], [4.0, 0.0]], dtype=np.float32)
Make = Callable[..., Path]


def test_a_third_party_engine_plugs_in_and_predicts(multiply_bundle: Make) -> None:
    with edgeward.load(multiply_bundle()) as model:
        np.testing.assert_array_equal(model.predict(X), X * 2)
        np.testing.assert_array_equal(model.predict({"x": X}), X * 2)
        assert model.variant.id == "multiply-fp32"
        assert model.variant.reason == "the only one that can run here"


@pytest.mark.parametrize("samples", [1, 3, 4, 5, 8, 9])
def test_any_batch_goes_through_a_fixed_batch_artifact(multiply_bundle: Make, samples: int) -> None:
    x = np.random.default_rng(0).normal(size=(samples, 2)).astype(np.float32)
    with edgeward.load(multiply_bundle(batch=4)) as model:
        np.testing.assert_array_equal(model.predict(x), x * np.float32(2))


def test_floats_go_in_and_out_of_an_integer_artifact(multiply_bundle: Make) -> None:
    with edgeward.load(multiply_bundle(scale=0.25, zero_point=-3)) as model:
        predicted = model.predict(X)
        assert predicted.dtype == np.float32
        np.testing.assert_array_equal(predicted, X * 2)
        saturated = model.predict(np.full((1, 2), 1e6, np.float32))
        np.testing.assert_array_equal(saturated, np.full((1, 2), (127 + 3) * 0.25, np.float32))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X.astype(np.float64), r"'x' expects float32 of shape \(any, 2\), but float64 .* x\.astype\('float32'\)"),
        (X[0], r"but float32 of shape \(2,\) came\. Add the batch axis with x\[None\]"),
        (X[:, :1], r"but float32 of shape \(3, 1\) came"),
        (X[:0], r"but float32 of shape \(0, 2\) came\. Pass at least one sample"),
        (X.tolist(), r"got list\. Make one with np\.asarray"),
        ({"z": X}, r"The inputs are \['x'\], but the dict has \['z'\]"),
        ({"x": X.tolist()}, r"but a list came"),
        (None, r"got NoneType"),
    ],
)
def test_a_wrong_input_is_named_with_what_was_expected_and_what_came(multiply_bundle: Make, x, message) -> None:
    with edgeward.load(multiply_bundle()) as model:
        with pytest.raises(edgeward.InputError, match=message):
            model.predict(x)
        assert model.latency.predictions == 0
        assert model.latency.errors == 0


def test_strided_and_read_only_inputs_are_taken(multiply_bundle: Make) -> None:
    wide = np.arange(16, dtype=np.float32).reshape(4, 4)[:, ::2]
    wide.flags.writeable = False
    with edgeward.load(multiply_bundle()) as model:
        np.testing.assert_array_equal(model.predict(wide), wide * 2)


def test_out_is_filled_and_returned(multiply_bundle: Make) -> None:
    with edgeward.load(multiply_bundle()) as model:
        out = np.empty_like(X)
        assert model.predict(X, out=out) is out
        np.testing.assert_array_equal(out, X * 2)
        with pytest.raises(edgeward.InputError, match=r"out= for 'y' must be writable float32 of shape \(3, 2\)"):
            model.predict(X, out=np.empty((3, 2)))


def test_every_call_is_counted_and_failures_apart(multiply_bundle: Make) -> None:
    with edgeward.load(multiply_bundle(sleep_s=0.01)) as model:
        for _ in range(3):
            model.predict(X)
        assert model.latency.predictions == 3
        assert model.latency.p50_ms >= 10 / 1.03  # a quantile is off by half a bucket at most
    with edgeward.load(multiply_bundle(fail="out of acid")) as model:
        with pytest.raises(edgeward.EngineError, match="multiply failed to run multiply-fp32: out of acid"):
            model.predict(X)
        assert (model.latency.predictions, model.latency.errors) == (0, 1)


def test_a_closed_model_still_tells_what_it_counted_and_predicts_no_more(multiply_bundle: Make) -> None:
    with edgeward.load(multiply_bundle()) as model:
        model.predict(X)
    assert model.latency.predictions == 1
    with pytest.raises(edgeward.EngineError, match="The model is closed"):
        model.predict(X)


def test_an_engine_of_another_interface_is_said_to_be_one(multiply_bundle: Make, monkeypatch) -> None:
    import multiply_engine

    monkeypatch.delattr(multiply_engine.MultiplySession, "another")
    with pytest.raises(edgeward.EngineError, match=r"multiply gives no session as .* Upgrade its package"):
        edgeward.load(multiply_bundle())


def test_a_child_forked_while_others_predict_predicts_too(multiply_bundle: Make) -> None:
    import os

    stop = threading.Event()
    with edgeward.load(multiply_bundle()) as model:

        def work() -> None:
            while not stop.is_set():
                model.predict(X)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            for _ in range(20):
                child = os.fork()
                if child == 0:
                    os._exit(0 if np.array_equal(model.predict(X), X * 2) else 1)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        finally:
            stop.set()
            thread.join()


def test_threads_share_a_model_and_no_count_is_lost(multiply_bundle: Make) -> None:
    with edgeward.load(multiply_bundle()) as model:

        def work(value: float) -> None:
            x = np.full((2, 2), value, np.float32)
            for _ in range(500):
                np.testing.assert_array_equal(model.predict(x), x * 2)

        threads = [threading.Thread(target=work, args=(float(i),)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert model.latency.predictions == 2000


@given(st.lists(st.integers(1, 5), max_size=8), st.integers(1, 4))
def test_a_stream_keeps_order(multiply_bundle: Make, sizes: list[int], depth: int) -> None:
    with edgeward.load(multiply_bundle()) as model:
        batches = [np.full((size, 2), index, np.float32) for index, size in enumerate(sizes)]
        predicted = list(model.stream(iter(batches), depth=depth))
    assert len(predicted) == len(batches)
    for x, y in zip(batches, predicted, strict=True):
        np.testing.assert_array_equal(y, x * 2)


def test_a_stream_passes_on_what_its_source_raises(multiply_bundle: Make) -> None:
    def camera():
        yield X
        raise OSError("unplugged")

    with edgeward.load(multiply_bundle()) as model:
        stream = model.stream(camera())
        np.testing.assert_array_equal(next(stream), X * 2)
        with pytest.raises(OSError, match="unplugged"):
            next(stream)


def test_a_stream_raises_in_its_place_what_a_prediction_raises(multiply_bundle: Make) -> None:
    with edgeward.load(multiply_bundle()) as model:
        stream = model.stream([X, X + 1, X[0], X])
        np.testing.assert_array_equal(next(stream), X * 2)
        np.testing.assert_array_equal(next(stream), (X + 1) * 2)
        with pytest.raises(edgeward.InputError, match=r"x\[None\]"):
            next(stream)
        with pytest.raises(StopIteration):
            next(stream)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_a_stream_fetches_no_more_ahead_than_asked_and_nothing_before_it_is_asked(
    multiply_bundle: Make, depth: int
) -> None:
    fetched = []

    def camera():
        for number in range(20):
            fetched.append(number)
            yield X + number

    with edgeward.load(multiply_bundle()) as model:
        stream = model.stream(camera(), depth=depth)
        assert fetched == []
        for taken in range(1, 21):
            next(stream)
            expected = min(taken + depth, 20)
            wait_for(lambda at=expected: len(fetched) >= at, "the batches ahead")
            time.sleep(0.01)
            assert len(fetched) <= taken + depth
        assert list(stream) == []


def test_a_stream_fetches_while_it_predicts(multiply_bundle: Make) -> None:
    is_predicting, fetched_meanwhile = threading.Event(), threading.Event()

    def camera():
        yield X
        is_predicting.wait()
        fetched_meanwhile.set()
        yield X

    with edgeward.load(multiply_bundle()) as model:
        predict = model.predict

        def predict_and_wait(x: np.ndarray) -> np.ndarray:
            is_predicting.set()
            assert fetched_meanwhile.wait(10)
            return predict(x)

        model.predict = predict_and_wait  # type: ignore[method-assign]
        assert len(list(model.stream(camera()))) == 2


def test_a_stream_whose_source_blocks_for_ever_can_be_abandoned(multiply_bundle: Make) -> None:
    given, never = threading.Event(), threading.Event()

    def camera():
        yield X
        given.set()
        never.wait()
        yield X

    with edgeward.load(multiply_bundle(), threads=1) as model:
        stream = model.stream(camera())
        np.testing.assert_array_equal(next(stream), X * 2)
        given.wait()
        stream.close()  # would hang if it waited for the source
        assert model.latency.predictions == 1
    never.set()


@pytest.mark.parametrize("ending", ["", "stream.close()", "del stream", "raise SystemExit(0)"])
def test_a_process_ends_with_a_stream_under_way(multiply_bundle: Make, ending: str) -> None:
    script = f"""
import time, numpy, edgeward
def camera():
    while True:
        yield numpy.ones((1, 2), numpy.float32)
model = edgeward.load({str(multiply_bundle(sleep_s=0.01))!r}, threads=1)
stream = model.stream(camera())
next(stream)
{ending}
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_predict_can_be_awaited(multiply_bundle: Make) -> None:
    async def two() -> list:
        return await asyncio.gather(model.predict_async(X), model.predict_async(X + 1))

    with edgeward.load(multiply_bundle()) as model:
        first, second = asyncio.run(two())
    np.testing.assert_array_equal(first, X * 2)
    np.testing.assert_array_equal(second, (X + 1) * 2)


def test_a_variant_or_engine_that_is_not_there_is_named(multiply_bundle: Make) -> None:
    path = multiply_bundle()
    with pytest.raises(edgeward.InputError, match=r"toy has no variant 'gpu'; it has multiply-fp32"):
        edgeward.load(path, variant="gpu")
    with pytest.raises(edgeward.InputError, match=r"toy has no engine 'litert'"):
        edgeward.load(path, engine="litert")


def test_an_artifact_that_its_engine_cannot_open_is_an_engine_error(plugin: Path, tmp_path: Path) -> None:
    from tests.builders import write_bundle

    path = tmp_path / "broken.edge"
    write_bundle(path, artifacts={"multiply-fp32": b"not json"})
    with pytest.raises(edgeward.EngineError, match=r"multiply cannot open multiply-fp32\.model"):
        edgeward.load(path)


def test_a_name_that_is_not_installed_says_how_to_install(home: Home) -> None:
    with pytest.raises(edgeward.InstallError, match=r"No model 'toy' is installed .* edgeward flash"):
        edgeward.load("toy")


def test_names_that_no_model_can_have_are_refused(home: Home) -> None:
    for name in ("a" * 300, "a\0b", "../toy", ""):
        with pytest.raises(edgeward.EdgewardError):
            edgeward.load(name)


def test_a_folder_of_the_models_name_hides_no_installed_model(multiply_bundle: Make, home: Home, monkeypatch) -> None:
    installer.install(home, multiply_bundle())
    (home.root / "toy").mkdir()
    monkeypatch.chdir(home.root)
    with edgeward.load("toy") as model:
        np.testing.assert_array_equal(model.predict(X), X * 2)


def test_the_environment_can_choose_threads_and_engine(multiply_bundle: Make, monkeypatch) -> None:
    monkeypatch.setenv("EDGEWARD_THREADS", "three")
    with pytest.raises(edgeward.ConfigError, match="EDGEWARD_THREADS must be a whole number"):
        edgeward.load(multiply_bundle())
    monkeypatch.setenv("EDGEWARD_THREADS", "3")
    monkeypatch.setenv("EDGEWARD_ENGINE", "multiply")
    with edgeward.load(multiply_bundle()) as model:
        assert model.variant.threads == 3
        assert "engine 'multiply' was asked for" in model.variant.reason


def test_a_release_that_goes_live_while_the_model_opens_is_followed_too(
    multiply_bundle: Make, home: Home, monkeypatch
) -> None:
    from edgeward_runtimes import loading

    installer.install(home, multiply_bundle("1.0.0", factor=2.0))
    newer = multiply_bundle("1.1.0", factor=2.00005)
    watch = loading._watch

    def late(*arguments: object) -> None:
        installer.install(home, newer)
        watch(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(loading, "_watch", late)
    with edgeward.load("toy", watch=True) as model:
        wait_for(lambda: np.any(model.predict(X) != X * 2), "the release that went live in between")


def test_a_model_closed_while_a_new_release_opens_stays_closed(multiply_bundle: Make) -> None:
    model, newer = edgeward.load(multiply_bundle("1.0.0")), edgeward.load(multiply_bundle("1.1.0"))
    model.close()
    model.move_to(newer)
    for closed in (model, newer):
        with pytest.raises(edgeward.EngineError, match="The model is closed"):
            closed.predict(X)


def test_a_watching_model_moves_to_a_new_release_and_back(multiply_bundle: Make, home: Home) -> None:
    installer.install(home, multiply_bundle("1.0.0", factor=2.0))
    with edgeward.load("toy", watch=True) as model:
        np.testing.assert_array_equal(model.predict(X), X * 2)
        # Within the golden tolerance of 1e-3 on values up to 14, but distinguishable.
        installer.install(home, multiply_bundle("1.1.0", factor=2.00005))
        wait_for(lambda: np.any(model.predict(X) != X * 2), "the new release")
        installer.rollback(home, "toy")
        wait_for(lambda: np.array_equal(model.predict(X), X * 2), "the old release")
