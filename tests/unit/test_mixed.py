"""A precision for each layer: the search, the judge, and the integers. Pure parts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeward_converters.quantizers import litert_mixed_rounding as rounding
from edgeward_converters.quantizers.litert_mixed_judge import Judge, Verdict
from edgeward_converters.quantizers.litert_mixed_search import Choice, Search
from edgeward_converters.quantizers.litert_mixed_settings import Basis, Mixed
from edgeward_runtimes.errors import ConfigError
from edgeward_runtimes.manifest import Tensor


def _searched(costs, budget, most=200, joint=None):
    """A search where each layer in 4 bits costs its own, and some together cost otherwise."""
    judged = []

    def judge(bits):
        low = frozenset(name for name, each in bits.items() if each == 4)
        judged.append(tuple(sorted(bits.items())))
        cost = (joint or {}).get(low, sum(costs[name] for name in low))
        return Verdict(cost, cost, cost)

    def rank(bits):
        cost = sum(costs[name] for name, each in bits.items() if each == 4)
        return Verdict(cost, cost, cost)

    choices = [Choice(name, 100 * (index + 1), (4, 8, 32)) for index, name in enumerate(costs)]
    return Search(choices, rank, judge, budget, most).run(), judged


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=7), st.floats(0.0, 2.0))
def test_what_is_found_is_within_the_budget_and_nothing_is_judged_twice(costs, budget):
    found, judged = _searched({f"l{index}": cost for index, cost in enumerate(costs)}, budget)
    assert found.verdict.bound <= budget
    assert len(judged) == len(set(judged)) == found.tried


def test_all_layers_go_down_in_one_step_when_they_may():
    found, judged = _searched(dict.fromkeys("abcdef", 0.01), budget=1.0)
    assert set(found.bits.values()) == {4}
    assert len(judged) == 2  # everything in 8 bits, everything in 4


def test_a_step_that_is_too_much_is_taken_when_the_next_brings_it_back():
    costs = {"a": 0.3, "b": 0.9, "c": 9.0}
    together = {frozenset("ab"): 0.1, frozenset("abc"): 5.0}
    found, _ = _searched(costs, budget=0.2, joint=together)
    assert found.bits == {"a": 4, "b": 4, "c": 8}


def test_a_small_layer_makes_room_for_a_large_one():
    costs = {"small": 0.05, "large": 0.25}  # by cost per weight the small one comes first
    costs = {"small": 0.06, "large": 0.25}
    together = {frozenset(("small", "large")): 0.31}
    found, _ = _searched(costs, budget=0.3, joint=together)
    assert found.bits["large"] == 4


def test_layers_go_up_where_eight_bits_are_too_few():
    def judge(bits):
        cost = 0.5 if bits["a"] == 8 else 0.1
        return Verdict(cost, cost, cost)

    choices = [Choice("a", 10, (8, 16, 32)), Choice("b", 10, (8,))]
    found = Search(choices, judge, judge, 0.2).run()
    assert found.bits == {"a": 16, "b": 8}


def test_the_number_of_combinations_is_kept():
    found, judged = _searched({f"l{index}": 0.3 for index in range(12)}, budget=1.0, most=5)
    assert len(judged) <= 7  # a step begun is finished
    assert found.verdict.bound <= 1.0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_compensated_integers_are_never_worse_than_the_nearest(seed):
    random = np.random.default_rng(seed)
    weights = random.normal(size=(4, 12))
    rows = random.normal(size=(200, 12)) @ random.normal(size=(12, 12))
    covariance = rounding.damped(np.cov(rows.T))
    scales = rounding.clipped_scales(weights, 4)
    nearest = rounding.best(
        rounding.judged(weights, covariance, np.clip(np.rint(weights / each[:, None]), -7, 7), each) for each in scales
    )
    found = rounding.compensated(weights, covariance, 4, scales)
    assert (found.errors <= nearest.errors * (1 + 1e-5)).all()
    assert np.abs(found.integers).max() <= 7


def test_what_the_layers_before_did_is_undone():
    random = np.random.default_rng(0)
    intended = random.normal(size=(4000, 6))
    real = intended @ (np.eye(6) + 0.2 * random.normal(size=(6, 6)))
    weights = random.normal(size=(3, 6))
    covariance, cross = real.T @ real / len(real), intended.T @ real / len(real)
    aim = rounding.target(weights, covariance, cross)
    wanted = intended @ weights.T
    assert np.abs(real @ aim.T - wanted).mean() < 0.1 * np.abs(real @ weights.T - wanted).mean()


def _answers(count=400, classes=5, seed=0):
    random = np.random.default_rng(seed)
    logits = random.normal(size=(count, classes)) * 2
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("metric", ["accuracy", "top5_accuracy", "mse", "mae", "cosine"])
def test_the_same_answers_lose_nothing(metric):
    answers = _answers()
    verdict = Judge(answers, None, metric)(answers)
    assert verdict.bound <= 1e-9 or metric == "top5_accuracy"
    assert verdict.error == 0


def test_fewer_samples_leave_less_of_the_budget():
    answers = _answers(4000)
    other = answers + np.random.default_rng(1).normal(size=answers.shape) * 0.1
    many, few = Judge(answers, None, "accuracy")(other), Judge(answers[:200], None, "accuracy")(other[:200])
    assert few.bound - few.drop > 2 * (many.bound - many.drop) > 0


def test_labels_are_not_contradicted():
    answers = _answers()
    y = answers.argmax(axis=1)
    wrong = np.roll(answers, 1, axis=1)  # another class for every sample
    assert Judge(answers, y, "accuracy")(wrong).bound > 0.8


def test_answers_that_are_not_finite_are_refused():
    answers = _answers()
    assert Judge(answers, None, "accuracy")(np.full_like(answers, np.nan)).bound == np.inf


def test_overconfident_probabilities_are_softened_by_labels():
    """Half of the labels are the runner-up, whatever the confidence says: changing to it costs next to nothing."""
    random = np.random.default_rng(0)
    answers = np.tile([0.97, 0.03], (2000, 1))
    y = random.integers(0, 2, 2000)
    other = answers[:, ::-1]
    assert Judge(answers, None, "accuracy")(other).drop > 0.9
    assert Judge(answers, y, "accuracy")(other).drop < 0.5


def _basis(samples, y=None):
    tensors = (Tensor("x", (None, 2), "float32"),)
    return Basis({"x": np.zeros((samples, 2), np.float32)}, y, tensors, tensors, "accuracy", 0.01)


def test_what_is_fitted_to_does_not_judge():
    basis = _basis(1000, np.arange(1000))
    held, y = basis.held_back(4000)
    assert len(basis.fitted()["x"]) + len(held["x"]) == 1000
    assert y is not None
    assert y[0] == len(basis.fitted()["x"])


def test_too_few_samples_to_judge_by_is_said():
    with pytest.raises(ConfigError, match="there are 20, and at least 32 are needed"):
        _basis(40).held_back(100)


@pytest.mark.parametrize("wrong", [{"bits": (3,)}, {"algorithms": ("gptq",)}, {"share": 0.0}, {"trials": 0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="mixed precision"):
        Mixed(**wrong)
