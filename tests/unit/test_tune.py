"""The front, its limits, and what is tried next. Pure parts, and Optuna's journal."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeward_converters.tune import space
from edgeward_converters.tune.journal import BATCH, Journal
from edgeward_converters.tune.trials import Limits, Result, front, nearest, within
from edgeward_converters.variants import ALL
from edgeward_runtimes.errors import ConfigError

VARIANTS = ("litert-int8", "litert-mixed", "onnxruntime-int8", "openvino-int8")
ABOUT = {"seed": 3, "source": "abc"}


def _result(place, drop, size, latency=1.0):
    return Result(place, {"variants": ["litert-int8"]}, 0.0, size, drop, drop, latency)


RESULTS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.01, 0.02]), st.integers(1, 4), st.sampled_from([0.1, 0.2])), max_size=12
).map(lambda rows: [_result(place, *row) for place, row in enumerate(rows)])


@settings(max_examples=80, deadline=None)
@given(RESULTS)
def test_nothing_on_the_front_is_beaten_and_nothing_off_it_is_missed(results):
    points = front(results)

    def values(each):
        return (each.drop, each.size_bytes, each.latency_ms)

    for point in points:
        assert not any(
            values(each) != values(point) and all(a <= b for a, b in zip(values(each), values(point), strict=True))
            for each in results
        )
    for each in results:
        assert any(all(a <= b for a, b in zip(values(point), values(each), strict=True)) for point in points)


def test_of_equals_the_first_is_on_the_front():
    assert [each.place for each in front([_result(0, 0.0, 5), _result(1, 0.0, 5)])] == [0]


def test_what_failed_is_never_on_the_front():
    failed = Result(0, {"variants": ["litert-int8"]}, reason="crashed")
    assert front([failed, _result(1, 0.0, 5)]) == [_result(1, 0.0, 5)]
    assert not within(failed, Limits(1.0))
    assert nearest([failed], Limits(1.0)) is None


def test_each_limit_counts():
    found = _result(0, 0.01, 100, 2.0)
    assert within(found, Limits(0.01, 100, 2.0))
    for limits in (Limits(0.009, 100, 2.0), Limits(0.01, 99, 2.0), Limits(0.01, 100, 1.9)):
        assert not within(found, limits)


def test_the_nearest_misses_by_the_smallest_share():
    results = [_result(0, 0.02, 100), _result(1, 0.01, 110)]
    assert nearest(results, Limits(0.01, 100)) == results[1]


def test_what_is_searched_exists():
    assert set(space.SEARCHED) <= set(ALL)


def _run(folder, batches, stop=None):
    """Ask and tell so many batches, with drops and sizes that follow from the recipe; stop after so many trials."""
    journal = Journal(folder, ABOUT, VARIANTS, has_steps=True)
    done = journal.results()
    for batch in range(batches):
        for place, recipe in enumerate(journal.ask(batch), batch * BATCH):
            if place in done:
                continue
            if stop is not None and place == stop:
                return journal.results()
            size = 100 - 10 * len(recipe["step"]) - 30 * ("mixed" in recipe)
            journal.tell(Result(place, recipe, 1.0, size, 0.001 * len(recipe["step"]), 0.001, 1.0))
    return journal.results()


def test_an_interrupted_search_goes_on_as_if_nothing_had_happened(tmp_path):
    whole = _run(tmp_path / "whole", 5)
    stopped = _run(tmp_path / "parts", 5, stop=10)
    assert len(stopped) == 10
    assert _run(tmp_path / "parts", 5) == whole
    assert len({str(each.recipe) for each in whole.values()}) > 8


def test_the_order_of_arrival_within_a_batch_does_not_matter(tmp_path):
    forth, back = (Journal(tmp_path / name, ABOUT, VARIANTS, has_steps=True) for name in ("forth", "back"))
    for batch in range(3):
        asked = [(place, recipe) for place, recipe in enumerate(forth.ask(batch), batch * BATCH)]
        assert [recipe for _, recipe in asked] == back.ask(batch)
        told = [Result(place, recipe, 1.0, 50 + place, 0.001 * place, 0.001, 1.0) for place, recipe in asked]
        for result in told:
            forth.tell(result)
        for result in reversed(told):
            back.tell(result)
    assert forth.results() == back.results()
    assert forth.ask(3) == back.ask(3)


def test_a_failed_trial_is_kept_with_its_reason(tmp_path):
    journal = Journal(tmp_path, ABOUT, VARIANTS, has_steps=False)
    (recipe, *_) = journal.ask(0)
    journal.tell(Result(0, recipe, reason="a native crash"))
    assert Journal(tmp_path, ABOUT, VARIANTS, has_steps=False).results()[0].reason == "a native crash"


def test_a_folder_of_another_search_is_refused(tmp_path):
    Journal(tmp_path, ABOUT, VARIANTS, has_steps=False)
    with pytest.raises(ConfigError, match="holds the trials of another source"):
        Journal(tmp_path, {**ABOUT, "source": "other"}, VARIANTS, has_steps=False)
