"""Promises of structured pruning: what is left computes exactly the same without the rest, and is as small as asked."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeward_converters.compress.pruning import selection
from edgeward_converters.compress.pruning.sensitivity import Sensitivity, alike
from edgeward_converters.compress.pruning.structure import Group
from edgeward_converters.worker import Worker
from tests.unit import pruning_jobs as jobs

FRAMEWORKS = ("keras", "torch")
KERAS = {
    "residual": [["stem", "outer"], ["inner"], ["down", "shortcut"]],
    "sequential": [["first"], ["second"], ["hidden"]],
    "separable": 10,
    "concatenated": 5,
    "recurrent": 4,
    "shared": 3,
    "not_understood": [["free"]],
    "attention": [["forward"]],
}
TORCH = {
    "residual": [["stem.0", "blocks.0.outer"], ["blocks.0.inner.0"], ["blocks.1.inner.0"],
                 ["blocks.1.outer", "blocks.1.shortcut"]],
    "separable": [["squeeze.0"], ["stem.0", "narrow.0"], ["wide.0.0", "wide.1.0", "squeeze.2"]],
    "concatenated": [["down.0"], ["first.0"], ["second.0"], ["third.0"], ["up"]],
    "not_understood": [["free"], ["hidden"]],
    "text": [["convolution"], ["hidden"]],
}  # fmt: skip


@pytest.mark.parametrize("name", KERAS)
def test_keras_models_compute_the_same_without_channels_as_with_them_silent(
    name: str, worker: Worker, tmp_path: Path
) -> None:
    whole, silenced, sliced, layers, (foretold, counted), same = worker.run(jobs.keras_sliced, name, tmp_path)
    for before, expected, came in zip(whole, silenced, sliced, strict=True):
        assert np.allclose(expected, came, rtol=1e-4, atol=1e-5)
        assert not np.allclose(before, came, rtol=1e-2, atol=1e-3)
    assert foretold == counted
    assert same
    expected_groups = KERAS[name]
    if isinstance(expected_groups, int):
        assert len(layers) == expected_groups
    else:
        assert list(layers.values()) == expected_groups


@pytest.mark.parametrize("name", TORCH)
def test_torch_modules_compute_the_same_without_channels_as_with_them_silent(name: str, worker: Worker) -> None:
    whole, silenced, sliced, layers, (before, after) = worker.run(jobs.torch_sliced, name)
    assert np.allclose(silenced[0], sliced[0], rtol=1e-4, atol=1e-5)
    assert not np.allclose(whole[0], sliced[0], rtol=1e-2, atol=1e-3)
    assert sorted(layers.values()) == sorted(TORCH[name])
    assert after < before


@pytest.mark.parametrize(
    ("framework", "options"),
    [
        ("keras", {"ratio": 0.5, "rounds": 2}),
        ("torch", {"ratio": 0.5, "rounds": 2}),
        ("keras", {"ratio": 0.5, "rounds": 1, "allocation": "global", "criterion": "bn_scale"}),
        ("torch", {"ratio": 0.5, "rounds": 1, "allocation": "sensitivity", "distill": True}),
    ],
)
def test_a_trained_network_loses_half_its_channels_and_keeps_its_accuracy(
    framework: str, options: dict[str, object], worker: Worker
) -> None:
    before, after, _, _, left = worker.run(jobs.channels, framework, options)
    assert sum(left[name] for name in ("first", "second", "hidden")) == pytest.approx(20, abs=2)
    assert left["classes"] == 4
    assert before > 0.9
    assert after > before - 0.04


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_budgets_ratios_and_multiples_hold(framework: str, worker: Worker) -> None:
    *_, before, after, _ = worker.run(jobs.channels, framework, {"keep_parameters": 0.4, "rounds": 2})
    assert 0.3 * before < after <= 0.4 * before
    left = worker.run(jobs.channels, framework, {"ratios": {"first": 0.75, "hidden": 0.25}, "rounds": 1})[-1]
    assert left == {"first": 3, "second": 12, "hidden": 12, "classes": 4}
    left = worker.run(jobs.channels, framework, {"ratio": 0.4, "multiple": 4, "rounds": 1, "skip": ("second",)})[-1]
    assert left == {"first": 8, "second": 12, "hidden": 8, "classes": 4}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_scan_finds_what_each_layer_costs_and_changes_nothing(framework: str, worker: Worker) -> None:
    found, before, after = worker.run(jobs.scanned, framework)
    assert before == after
    assert {each.name for each in found} == {"first", "second", "hidden"}
    assert all(each.ratios == (0.125, 0.25, 0.5, 0.75) for each in found)
    assert max(each.drops[-1] for each in found) > 0.05
    assert all(each.drops[0] < 0.2 for each in found)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=4), st.floats(0, 1), st.integers(1, 5))
def test_plans_remove_more_at_higher_levels_and_never_all(sizes: list[int], level: float, multiple: int) -> None:
    generator = np.random.default_rng(sum(sizes))
    groups = [Group(str(index), (str(index),), generator.random(size)) for index, size in enumerate(sizes)]
    scans = [Sensitivity(each.name, each.layers, (0.25, 0.75), (0.1 * index, 0.5)) for index, each in enumerate(groups)]
    least = {group.name: 1.0 for group in groups}
    plans = [
        selection.uniform(groups, {group.name: group.size for group in groups}, multiple),
        selection.everywhere(groups, least, multiple),
        alike(groups, scans, multiple),
    ]
    for plan in plans:
        low, high = plan(level / 2), plan(level)
        for group in groups:
            removed = high.get(group.name, np.empty(0, int))
            assert set(low.get(group.name, ())) <= set(removed)
            left = group.size - len(removed)
            assert left >= 1
            assert left == group.size or left % multiple == 0
            assert group.scores[removed].max(initial=0) <= np.delete(group.scores, removed).min()
    assert plans[0](0.0) == {} or multiple > 1


def test_the_scan_allots_more_to_layers_that_cost_less() -> None:
    groups = [Group(name, (name,), np.arange(20.0)) for name in ("cheap", "dear")]
    scans = [
        Sensitivity("cheap", ("cheap",), (0.25, 0.5), (0.0, 0.1)),
        Sensitivity("dear", ("dear",), (0.25, 0.5), (0.1, 0.4)),
    ]
    removed = alike(groups, scans, 1)(0.625)  # a quarter of 0.4 is allowed
    assert {name: len(indexes) for name, indexes in removed.items()} == {"cheap": 10, "dear": 5}
