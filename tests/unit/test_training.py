"""Promises of the shared fine-tuning that need no framework: order, augmentation, which loss, what is refused."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeward_converters.compress.step import Context, Trainable
from edgeward_converters.compress.training import FineTune, batches, losses
from edgeward_converters.compress.training.throttle import throttled
from edgeward_converters.worker import Worker
from edgeward_runtimes.errors import ConfigError
from tests.unit import training_jobs as jobs


@given(st.integers(1, 300), st.integers(1, 80), st.floats(0.1, 4), st.integers(0, 9))
def test_every_sample_comes_once_in_each_pass_and_all_batches_are_of_one_size(
    samples: int, batch_size: int, epochs: float, seed: int
) -> None:
    total = batches.count(samples, batch_size, epochs)
    found = list(batches.indices(samples, batch_size, total, seed))
    assert len(found) == total >= 1
    assert {len(batch) for batch in found} == {min(batch_size, samples)}
    seen = np.bincount(np.concatenate(found), minlength=samples)
    assert seen.max() - seen.min() <= 1
    again = list(batches.indices(samples, batch_size, total, seed))
    assert all((one == other).all() for one, other in zip(found, again, strict=True))


@given(
    st.integers(1, 4),
    st.integers(1, 20),
    st.integers(1, 20),
    st.booleans(),
    st.sampled_from(["shift", "flip_and_shift"]),
)
def test_augmented_pictures_have_only_their_own_pixels(
    count: int, height: int, width: int, channels_first: bool, augmentation: batches.Augmentation
) -> None:
    rows, columns = np.mgrid[:height, :width]
    pictures = np.stack([np.stack([rows, columns, np.full_like(rows, each)], -1) for each in range(count)])
    given_pictures = pictures.transpose(0, 3, 1, 2) if channels_first else pictures
    generator = np.random.default_rng(0)
    moved = batches.augmented(given_pictures, augmentation, generator, channels_first=channels_first)
    assert moved.shape == given_pictures.shape
    moved = moved.transpose(0, 2, 3, 1) if channels_first else moved
    assert (moved[..., 2] == pictures[..., 2]).all()  # no picture takes another's pixels
    assert np.abs(moved[..., 0] - pictures[..., 0]).max() <= height // 8  # rows move by an eighth at most
    across = np.diff(moved[..., 1], axis=2)
    mirrored = (across <= 0).all(axis=(1, 2))  # columns in order, or mirrored where that was asked for
    assert ((across >= 0).all(axis=(1, 2)) | (mirrored & (augmentation != "shift"))).all()


@pytest.mark.parametrize(
    ("outputs", "y", "expected"),
    [
        ([[0.2, 0.8], [0.5, 0.5]], [0, 1], "cross_entropy_of_probabilities"),
        ([[0.2, 0.8], [0.5, 0.5]], [[1, 0], [0, 1]], "cross_entropy_of_probabilities"),
        ([[0.2, 1.8], [0.5, 0.5]], [[0], [1]], "cross_entropy_of_logits"),
        ([[0.2], [1.0]], [0, 1], "binary"),
        ([[0.2], [1.5]], [0, 1], "mean_squared_error"),
        ([[0.2], [0.5]], [0.3, 1.0], "mean_squared_error"),
        ([[0.2, 0.8], [0.5, 0.5]], [[0.3, 0.1], [1.0, 2.0]], "mean_squared_error"),
    ],
)
def test_outputs_and_labels_tell_the_loss(outputs: Any, y: Any, expected: str) -> None:
    assert losses.kind(np.array(outputs), np.array(y)) == expected


def test_one_hot_labels_become_classes_and_targets_take_the_outputs_shape() -> None:
    outputs = np.zeros((2, 3))
    assert losses.targets("cross_entropy_of_logits", np.array([[0, 0, 1], [1, 0, 0]]), outputs).tolist() == [2, 0]
    assert losses.targets("mean_squared_error", np.array([1.0, 2.0]), np.zeros((2, 1))).shape == (2, 1)


def test_labels_that_fit_no_output_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"class 7.*3 classes, 0 to 2"):
        losses.targets("cross_entropy_of_logits", np.array([0, 7]), np.zeros((2, 3)))
    with pytest.raises(ConfigError, match="expected class indexes"):
        losses.kind(np.zeros((2, 3)), np.zeros((2, 5)))
    with pytest.raises(ConfigError, match="needs labels"):
        losses.labels(None)
    with pytest.raises(ConfigError, match=r"'b'.*'a'"):
        batches.ordered({"a": np.zeros(1)}, ["a", "b"])
    with pytest.raises(ConfigError, match="input of pictures"):
        batches.check_pictures([np.zeros((2, 3))], "shift")


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": -1}, {"augmentation": "spin"}])
def test_settings_out_of_range_are_refused_when_a_recipe_is_read(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError, match=next(iter(wrong))):
        msgspec.convert({"method": "fine_tune", "training": wrong}, FineTune)


def test_a_step_without_data_says_what_to_pass() -> None:
    with pytest.raises(ConfigError, match=r"fine_tune needs labelled training data.*--training"):
        FineTune().apply(Trainable("keras", None), Context(teacher=Trainable("keras", None)))


def test_progress_is_told_seldom_and_at_the_end() -> None:
    told: list[float] = []
    tell = throttled(told.append)
    for step in range(1000):
        tell((step + 1) / 1000)
    assert told[0] == 0.001
    assert told[-1] == 1.0
    assert len(told) < 100


@pytest.mark.parametrize("framework", ["keras", "torch"])
def test_fine_tuning_learns_the_same_for_the_same_seed(framework: str, worker: Worker) -> None:
    first, again, other = (worker.run(jobs.fine_tuned, framework, seed) for seed in (3, 3, 4))
    assert first.before < 0.7 < 0.9 < first.after
    assert first.weights == again.weights
    assert first.weights != other.weights
    assert first.told == 1.0


@pytest.mark.parametrize("framework", ["keras", "torch"])
@pytest.mark.parametrize("kind", ["probabilities", "logits", "sigmoid", "regression"])
def test_every_kind_of_output_is_learnt(framework: str, kind: str, worker: Worker) -> None:
    before, after = worker.run(jobs.learnt, framework, kind)
    assert after < 0.5 * before  # the share of errors, or the squared error


@pytest.mark.parametrize("framework", ["keras", "torch"])
def test_hooks_come_around_each_batch_and_masks_hold(framework: str, worker: Worker) -> None:
    calls, zeros = worker.run(jobs.masked, framework)
    assert calls == [("before", 0, 4), ("after", 0, 4), ("before", 1, 4), ("after", 1, 4)] + [
        (when, index, 4) for index in (2, 3) for when in ("before", "after")
    ]
    assert zeros == 0.0


@pytest.mark.parametrize("framework", ["keras", "torch"])
def test_what_was_pruned_stays_pruned_and_the_rest_is_trained(framework: str, worker: Worker) -> None:
    zeros_before, zeros_after, moved = worker.run(jobs.pruned, framework)
    assert zeros_before == zeros_after == 64
    assert moved > 0.99


@pytest.mark.parametrize("framework", ["keras", "torch"])
def test_inputs_go_by_name_in_the_models_order(framework: str, worker: Worker) -> None:
    assert worker.run(jobs.order_of_inputs, framework) == [[2.0], [5.0]]


@pytest.mark.parametrize("framework", ["keras", "torch"])
def test_training_that_diverges_is_a_sentence(framework: str, worker: Worker) -> None:
    with pytest.raises(Exception, match=r"Training diverged: the loss was .* Use a lower learning_rate"):
        worker.run(jobs.diverged, framework)


@pytest.mark.parametrize("framework", ["keras", "torch"])
def test_a_frozen_model_is_refused(framework: str, worker: Worker) -> None:
    with pytest.raises(ConfigError, match="no weights that may be trained"):
        worker.run(jobs.frozen, framework)


def test_the_steps_import_no_framework() -> None:
    import subprocess
    import sys

    code = (
        "import sys; import edgeward_converters.compress.training, edgeward_converters.compress.distillation.distill,"
        " edgeward_converters.compress.distillation.noisy_student,"
        " edgeward_converters.compress.quantization_aware.step;"
        " print({'keras', 'torch', 'tensorflow'} & set(sys.modules))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "set()"
