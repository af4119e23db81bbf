"""Observation: what is counted of a model's inputs and outputs, what drift makes of it, and what survives."""

import multiprocessing
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import edgeward
from edgeward_runtimes import active
from edgeward_runtimes import bundle as bundles
from edgeward_runtimes.errors import InputError
from edgeward_runtimes.home import Home
from edgeward_runtimes.install import installer
from edgeward_runtimes.model import Model
from edgeward_runtimes.observation import drift, features, files, observer, reference, settings, summary
from edgeward_runtimes.observation.reference import Reference
from edgeward_runtimes.observation.store import ObservationStore
from edgeward_runtimes.observation.tally import KEPT, WINDOW, Counts, Layout, Tally
from tests.builders import bundle_content

RANDOM = np.random.default_rng(7)


def _inputs(count: int, shift: float = 0.0) -> np.ndarray:
    return RANDOM.normal(shift, 1.0, (count, 2)).astype(np.float32)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at every prediction, from the first on."""
    monkeypatch.setattr(active, "_UNOBSERVED_NS", -1)
    monkeypatch.setattr(observer, "_EVERY_NS", 0)
    monkeypatch.setattr(observer, "_SHARE", 0)
    monkeypatch.setattr(observer, "_SETTINGS_EVERY_S", 0)


@pytest.fixture
def install(plugin: Path, home: Home, tmp_path: Path) -> Callable[..., str]:
    """Install a release of the model `toy`, which multiplies by two, with a reference of normal inputs."""

    def make(version: str = "1.0.0", labels: tuple[str, ...] | None = ("low", "high")) -> str:
        manifest, contents = bundle_content(version=version, artifacts={"multiply-fp32": b'{"factor": 2.0}'})
        x = _inputs(1000)
        classes = features.classes_of(manifest.outputs[0], labels, None)
        contents[reference.FILE] = reference.encode(reference.reference({"x": x}, {"y": x * 2}, classes))
        attached = (bundles.declare(reference.FILE, contents[reference.FILE]),)
        manifest = msgspec.structs.replace(manifest, labels=labels, attachments=attached)
        bundles.write(tmp_path / "toy.edge", manifest, contents)
        return installer.install(home, tmp_path / "toy.edge").release

    return make


def _score(home: Home, model: str = "toy") -> float | None:
    store = ObservationStore(home)
    observed = store.collect()[model]
    return summary.summarize(store.reference(model, observed.release), observed.tally).drift_score


def _predict(model: Model, x: np.ndarray) -> None:
    for row in x:
        model.predict(row[None])


@pytest.mark.usefixtures("at_once")
def test_drifted_inputs_raise_the_score_and_the_same_distribution_does_not(install, home: Home) -> None:
    install()
    with edgeward.load("toy") as model:
        _predict(model, _inputs(150))
        assert _score(home) is None, "too few samples yet"
        _predict(model, _inputs(450))
        assert _score(home) < 0.1
        settings.reset(home, "toy")
        _predict(model, _inputs(400, shift=0.7))
        assert _score(home) > 0.2


@pytest.mark.usefixtures("at_once")
def test_a_new_release_begins_without_the_drift_of_the_old_one(install, home: Home) -> None:
    install()
    with edgeward.load("toy") as model:
        _predict(model, _inputs(300, shift=3))
    assert _score(home) > 0.2
    install("1.1.0")
    with edgeward.load("toy") as model:
        _predict(model, _inputs(300))
    assert _score(home) < 0.1


_APPLICATION = """
import sys, edgeward, numpy
from edgeward_runtimes import active
from edgeward_runtimes.observation import observer
active._UNOBSERVED_NS, observer._EVERY_NS, observer._SHARE = -1, 0, 0
model = edgeward.load("toy")
for number in range(300):
    answer = model.predict(numpy.float32([[number % 3, 1]]))
    model.feedback("high" if number % 3 == 0 else "low", answer)
print("predicted", flush=True)
sys.stdin.read()
"""


def test_what_was_counted_survives_kill_9_and_is_added_up_once(install, home: Home) -> None:
    install()
    application = subprocess.Popen([sys.executable, "-c", _APPLICATION], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert application.stdout is not None
    assert application.stdout.readline() == b"predicted\n"
    store = ObservationStore(home)
    alive = store.collect()["toy"]
    assert (alive.tally.samples, alive.tally.judged) == (300, 300)
    assert alive.tally.bins["class"] == (200, 100)
    application.send_signal(signal.SIGKILL)
    application.communicate()
    assert store.collect()["toy"] == alive, "folded"
    assert list((home.run / "observation").iterdir()) == []
    store = ObservationStore(home)
    assert store.collect()["toy"] == alive, "and on the disk"


@pytest.mark.usefixtures("at_once")
def test_a_fold_that_died_after_its_write_counts_nothing_twice(install, home: Home, monkeypatch) -> None:
    install()
    with edgeward.load("toy") as model:
        _predict(model, _inputs(5))
        model.feedback(0, model.predict(_inputs(1)))

    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    del model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "unlink", die)
        store = ObservationStore(home)
        with pytest.raises(Killed):
            store.collect()
    store = ObservationStore(home)
    for _ in range(2):
        tally = store.collect()["toy"].tally
        assert (tally.samples, tally.judged) == (6, 1)


@pytest.mark.usefixtures("at_once")
def test_a_forked_child_counts_in_a_file_of_its_own(install, home: Home) -> None:
    install()
    with edgeward.load("toy") as model:
        _predict(model, _inputs(3))
        child = multiprocessing.get_context("fork").Process(target=_predict, args=(model, _inputs(4)))
        child.start()
        child.join()
        _predict(model, _inputs(2))
        store = ObservationStore(home)
        assert store.collect()["toy"].tally.samples == 9
        assert len(list((home.run / "observation").iterdir())) == 1, "the child's was folded, the parent's lives"


@pytest.mark.usefixtures("at_once")
def test_what_is_not_finite_is_counted_without_a_word(install, home: Home) -> None:
    install()
    with edgeward.load("toy") as model, warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in (np.nan, np.inf, -np.inf, 1e38):
            model.predict(np.full((1, 2), value, np.float32))
        observed = ObservationStore(home).collect()["toy"]
    assert observed.tally.samples == 4
    assert observed.tally.bins["x.0"][-1] == 3, "above all that ever came"


def test_a_file_that_names_no_model_of_this_device_is_not_followed(install, home: Home) -> None:
    release = install()
    for name, layout in (("../toy", Layout({})), ("absent", Layout({})), ("toy", Layout({"x.0": 2}))):
        mapped, start = files.create(home.run / "observation", name, release, layout)
        mapped[start:] = b"\xff" * (len(mapped) - start)
    assert ObservationStore(home).collect() == {}
    assert len(list((home.run / "observation").glob("*.damaged"))) == 3


@pytest.mark.parametrize("how", ["attribute", "environment"])
@pytest.mark.usefixtures("at_once")
def test_observation_can_be_turned_off(install, home: Home, monkeypatch, how: str) -> None:
    install()
    if how == "environment":
        monkeypatch.setenv("EDGEWARD_OBSERVE", "0")
    with edgeward.load("toy") as model:
        if how == "attribute":
            model.observe = False
        _predict(model, _inputs(3))
    assert not (home.run / "observation").exists()


@pytest.mark.usefixtures("at_once")
def test_what_fails_ends_the_observation_and_no_prediction(install, home: Home) -> None:
    install()
    home.run.mkdir(parents=True, exist_ok=True)
    (home.run / "observation").write_text("in the way")
    with edgeward.load("toy") as model:
        with pytest.warns(RuntimeWarning, match="toy is not observed any more"):
            model.predict(_inputs(1))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert model.predict(_inputs(2)).shape == (2, 2)


@pytest.mark.usefixtures("at_once")
def test_feedback_judges_given_answers_and_then_the_latest_of_the_thread(install) -> None:
    install()
    high, low = np.float32([[1, 2]]), np.float32([[2, 1]])
    with edgeward.load("toy") as model:
        assert model.feedback("high", model.predict(high)) == 1
        model.predict(high)
        assert model.feedback("high") == 0, "from now on, answers are remembered"
        model.predict(low)
        assert model.feedback("high") == 1
        assert model.feedback("high") == 0, "each answer once"
        assert model.accuracy == 0.5
        model.predict(np.concatenate([high, low]))
        assert model.feedback(["high", "low"]) == 2
        assert model.accuracy == 0.75


@pytest.mark.parametrize(
    ("truth", "said"),
    [("medium", "the model's labels are"), ([0, 1], "2 classes for a prediction of 1"), (0.5, "class index or label")],
)
def test_feedback_that_does_not_fit_is_named(install, truth: object, said: str) -> None:
    install()
    with edgeward.load("toy") as model, pytest.raises(InputError, match=said):
        model.feedback(truth, model.predict(_inputs(1)))


def test_the_accuracy_is_that_of_the_latest_thousand() -> None:
    layout = Layout({})
    memory = bytearray(layout.size_bytes)
    counts = Counts(layout, memory)
    for number in range(WINDOW + 300):
        counts.judge(number >= WINDOW)
    tally = layout.read(bytes(memory))
    assert (tally.judged, tally.accuracy) == (WINDOW + 300, 0.3)
    assert tally.latest[-300:] == b"\1" * 300


def test_old_samples_fade() -> None:
    layout = Layout({"class": 2})
    memory = bytearray(layout.size_bytes)
    counts = Counts(layout, memory)
    for number in range(4 * KEPT):
        counts.count({"class": int(number >= 2 * KEPT)}, 0.5)
    tally = layout.read(bytes(memory))
    assert tally.samples <= 2 * KEPT
    assert tally.bins["class"][1] > 0.6 * tally.samples
    assert tally.mean_confidence == pytest.approx(0.5, abs=0.01)


tallies = st.builds(
    Tally,
    samples=st.integers(0, 2 * KEPT),
    confidence=st.integers(0, 2 * KEPT * 10**6),
    judged=st.integers(0, 2**40),
    latest=st.lists(st.integers(0, 1), max_size=WINDOW).map(bytes),
    bins=st.dictionaries(st.sampled_from("abc"), st.lists(st.integers(0, 2 * KEPT), min_size=1, max_size=4).map(tuple)),
)


@given(tallies, tallies)
def test_merged_tallies_stay_bounded_and_lose_no_judgement(one: Tally, other: Tally) -> None:
    merged = one.merge(other)
    assert merged.samples <= 2 * KEPT
    assert merged.judged == one.judged + other.judged
    assert len(merged.latest) == min(WINDOW, len(one.latest) + len(other.latest))
    assert set(merged.bins) == set(one.bins) | set(other.bins)


@given(st.binary(max_size=400), st.booleans())
def test_a_file_that_is_none_is_a_value_error(content: bytes, with_magic: bool) -> None:
    with pytest.raises(ValueError, match=r"observer's file|end too early"):
        files.decode((b"EWOBS\x00\x00\x01" if with_magic else b"") + content)


def test_a_file_is_read_as_it_was_counted(tmp_path: Path) -> None:
    layout = Layout({"x.0": 3, "class": 10})
    mapped, start = files.create(tmp_path, "toy", "1.0.0", layout)
    Counts(layout, memoryview(mapped)[start:]).count({"x.0": 2, "class": 9}, 0.25)
    (path,) = tmp_path.iterdir()
    header, tally = files.read(path)
    assert (header.model, header.release, header.layout) == ("toy", "1.0.0", layout)
    assert tally == Tally(1, 250_000, 0, b"", {"x.0": (0, 0, 1), "class": (0,) * 9 + (1,)})


finite = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 40), st.integers(1, 20)), elements=st.floats(-1e6, 1e6, width=32)
)


@given(finite, finite)
def test_references_are_distributions_and_survive_the_file(x: np.ndarray, y: np.ndarray) -> None:
    y = np.resize(y, (len(x), y.shape[1]))
    found = reference.reference({"x": x}, {"y": y}, y.shape[1] if y.shape[1] > 1 else None)
    assert reference.decode(reference.encode(found)) == found
    for each in found.features.values():
        assert sum(each.shares) == pytest.approx(1, abs=1e-4)


@given(st.binary(max_size=200))
def test_a_reference_that_is_none_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a reference"):
        reference.decode(content)


@given(st.integers(1, 10), st.integers(0, 2**32))
def test_the_same_distribution_is_no_drift_whatever_its_bins(bins: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.ones(bins))
    then, now = random.multinomial(500, shares), random.multinomial(500, shares)
    found = Reference(500, {"x": reference.Distribution(tuple(range(bins - 1)), tuple((then / 500).tolist()))})
    scores = drift.scores(found, 500, {"x": tuple(now.tolist())})
    assert scores is not None
    assert scores["x"] < 0.1


def test_a_thousand_rare_classes_are_no_drift_by_themselves() -> None:
    then, now = RANDOM.multinomial(2000, np.ones(1000) / 1000), RANDOM.multinomial(300, np.ones(1000) / 1000)
    found = Reference(2000, {"class": reference.Distribution((), tuple((then / 2000).tolist()))})
    assert drift.scores(found, 300, {"class": tuple(now.tolist())})["class"] < 0.05


def test_logits_and_probabilities_give_the_same_confidence() -> None:
    logits = RANDOM.normal(size=(20, 5))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    one, other = features.scores(logits, 5), features.scores(probabilities, 5)
    assert np.allclose(one.confidence, other.confidence)
    assert np.allclose(one.margin, other.margin)
    assert (one.best == other.best).all()


@given(tallies)
def test_a_summary_survives_the_wire_and_stays_small(tally: Tally) -> None:
    bins = {**tally.bins, "class": tuple(range(1000)), "confidence": (10_000,) * 12}
    found = Reference(
        500, {f"input_number_{each}.mean": reference.Distribution((0.0,), (0.5, 0.5)) for each in range(64)}
    )
    bins |= dict.fromkeys(found.features, (9000, 10))
    summarized = summary.summarize(found, Tally(10_000, 5, 7, b"\1", bins))
    packed = summary.pack(summarized)
    assert len(packed) <= summary.MOST_BYTES
    assert summary.unpack(packed) == summarized


@given(st.binary(max_size=100))
def test_garbage_is_a_value_error_or_a_summary(content: bytes) -> None:
    try:
        found = summary.unpack(content)
    except ValueError as error:
        assert "not packed observations" in str(error)  # noqa: PT017 - either is right
    else:
        assert summary.unpack(summary.pack(found)) == found
