"""Promises of pruning element by element: which weights go, exactly how many, and errors in one sentence."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeward_converters.compress.pruning import PruneChannels, PruneMagnitude, PruneNM
from edgeward_converters.compress.pruning.masks import largest, n_of_m
from edgeward_converters.compress.step import Step
from edgeward_converters.worker import Worker
from edgeward_runtimes.errors import ConfigError, ConversionError
from tests.unit import pruning_jobs as jobs

FRAMEWORKS = ("keras", "torch")


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=60), st.floats(0.01, 0.99), st.integers(1, 59))
def test_exactly_the_share_is_zero_and_none_of_it_is_larger_than_what_stays(
    values: list[float], sparsity: float, cut: int
) -> None:
    whole = np.array(values)
    parts = [part for part in np.split(whole, [min(cut, len(whole))]) if len(part)]
    masks = np.concatenate(largest(parts, sparsity, "global"))
    assert (masks == 0).sum() == round(sparsity * len(whole))
    assert max(np.abs(whole[masks == 0]), default=0) <= min(np.abs(whole[masks == 1]), default=np.inf)
    for part, mask in zip(parts, largest(parts, sparsity, "layer"), strict=True):
        assert (mask == 0).sum() == round(sparsity * len(part))


@given(st.integers(1, 3), st.integers(1, 13), st.integers(2, 5), st.integers(0, 2), st.data())
def test_n_of_every_m_stay_and_they_are_the_largest(
    rows: int, length: int, m: int, axis: int, data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, m - 1))
    shape = [rows, 2, 2]
    shape[axis] = length
    values = np.random.default_rng(length).normal(size=shape)
    lines = np.moveaxis(n_of_m(values, axis, n, m), axis, -1).reshape(-1, length)
    for line, mask in zip(np.moveaxis(values, axis, -1).reshape(-1, length), lines, strict=True):
        for start in range(0, length, m):
            magnitudes, kept = np.abs(line[start : start + m]), mask[start : start + m] == 1
            assert kept.sum() == min(n, len(kept))
            assert magnitudes[~kept].max(initial=0) <= magnitudes[kept].min()


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_magnitude_pruning_leaves_exact_zeros_and_the_accuracy(framework: str, scope: str, worker: Worker) -> None:
    options = {"sparsity": 0.7, "scope": scope, "every": 5}
    before, after, kernels, _ = worker.run(jobs.masked, framework, "prune_magnitude", options)
    zeros = {layer: [(array == 0).sum() for array in arrays] for layer, arrays in kernels.items()}
    sizes = {layer: [array.size for array in arrays] for layer, arrays in kernels.items()}
    assert list(kernels) == ["first", "second", "hidden", "classes"]
    if scope == "layer":
        assert zeros == {layer: [round(0.7 * size) for size in each] for layer, each in sizes.items()}
    else:
        assert _total(zeros) == round(0.7 * _total(sizes))
    assert before > 0.9
    assert after > before - 0.03


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_named_layers_alone_are_pruned(framework: str, worker: Worker) -> None:
    options = {"sparsity": 0.5, "layers": ("second", "hidden"), "training": None}
    kernels = worker.run(jobs.masked, framework, "prune_magnitude", options)[2]
    pruned = {layer for layer, arrays in kernels.items() if any((array == 0).any() for array in arrays)}
    assert pruned == {"second", "hidden"}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_two_of_four_holds_along_the_inputs_after_training(framework: str, worker: Worker) -> None:
    before, after, kernels, axes = worker.run(jobs.masked, framework, "prune_n_m", {})
    assert (kernels["first"][0] != 0).all()  # one input alone
    for (layer, arrays), axis in list(zip(kernels.items(), axes, strict=True))[1:]:
        inputs = np.moveaxis(arrays[0], axis, -1)
        groups = inputs.reshape(*inputs.shape[:-1], -1, 4)
        assert ((groups != 0).sum(axis=-1) == 2).all(), layer
    assert after > before - 0.03


def test_recurrent_and_embedding_kernels_are_found_through_wrappers(worker: Worker) -> None:
    assert worker.run(jobs.recurrent_kernels) == {
        "embedding": 1, "lstm": 2, "bidirectional": 4, "simple_rnn": 2, "dense": 1
    }  # fmt: skip


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_same_seed_gives_the_same_bytes(framework: str, worker: Worker) -> None:
    assert worker.run(jobs.weights_of_two_runs, framework)


@pytest.mark.parametrize(
    ("method", "table", "words"),
    [
        (PruneMagnitude, {"sparsity": 1.0}, "needs a sparsity between 0 and 1"),
        (PruneMagnitude, {"initial_sparsity": 0.9}, "needs an initial_sparsity of 0 up to sparsity"),
        (PruneMagnitude, {"rise": 0.0}, "needs a rise above 0"),
        (PruneNM, {"n": 4}, "needs n of at least 1 and below m"),
        (PruneChannels, {"ratio": 1.5}, "needs ratio between 0 and 1, such as 0.5; 1.5 came"),
        (PruneChannels, {"keep_macs": 0.0}, "needs keep_macs between 0 and 1"),
        (PruneChannels, {"ratios": {"first": 1.0}}, "needs a ratio of 0 up to 1 for layer 'first'"),
        (PruneChannels, {}, "needs to know how much goes"),
        (PruneChannels, {"ratio": 0.5, "ratios": {"first": 0.5}}, "needs to know how much goes"),
        (PruneChannels, {"ratio": 0.5, "rounds": 0}, "rounds of at least 1"),
    ],
)
def test_a_wrong_value_is_one_sentence_before_anything_runs(
    method: type[Step], table: dict[str, object], words: str
) -> None:
    with pytest.raises(msgspec.ValidationError, match=words) as told:
        msgspec.convert({"method": method.__struct_config__.tag, **table}, method)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "step",
    [
        PruneMagnitude(layers=("third",)),
        PruneNM(layers=("third",)),
        PruneChannels(ratios={"third": 0.5}),
        PruneChannels(ratio=0.5, skip=("third",)),
    ],
)
def test_an_unknown_layer_is_answered_with_those_there_are(step: Step, worker: Worker) -> None:
    with pytest.raises(ConfigError, match=r"no layer 'third'.*there are first, .*second, hidden, classes"):
        worker.run(jobs.applied, step)


@pytest.mark.parametrize("step", [PruneMagnitude(), PruneNM(), PruneChannels(ratio=0.5)])
def test_without_training_data_the_step_says_so(step: Step, worker: Worker) -> None:
    with pytest.raises(ConfigError, match=f"The step {step.__struct_config__.tag} needs labelled training data"):
        worker.run(jobs.applied, step, training=False)


def test_what_channels_cannot_do_is_a_sentence(worker: Worker) -> None:
    with pytest.raises(ConfigError, match=r"channels of layer 'classes' cannot go.*those of first, second, hidden can"):
        worker.run(jobs.applied, PruneChannels(ratios={"classes": 0.5}))
    with pytest.raises(ConfigError, match=r"cannot keep only 0\.001 of the macs"):
        worker.run(jobs.applied, PruneChannels(keep_macs=0.001, rounds=1))
    with pytest.raises(ConfigError, match="by sensitivity decides by held-back samples, and there are none"):
        worker.run(jobs.applied, PruneChannels(ratio=0.5, allocation="sensitivity"))
    with pytest.raises(ConfigError, match="no channels that can go"):
        worker.run(jobs.applied, PruneChannels(ratio=0.5, skip=("first", "second", "hidden")))
    with pytest.raises(ConversionError, match="shows no graph of layers"):
        worker.run(jobs.applied, PruneChannels(ratio=0.5), subclass=True)


def _total(counts: dict[str, list[int]]) -> int:
    return sum(sum(each) for each in counts.values())
