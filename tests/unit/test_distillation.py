"""Promises of distillation: its losses are the papers', students learn from teachers, and misfits are sentences."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgeward_converters.compress.distillation import hard_targets, soft_targets
from edgeward_converters.compress.distillation.distill import Distill
from edgeward_converters.compress.distillation.noisy_student import NoisyStudent, joined
from edgeward_converters.compress.step import Context, Samples, Trainable
from edgeward_converters.worker import Worker
from edgeward_runtimes.errors import ConfigError
from tests.unit import distillation_jobs as jobs

FRAMEWORKS = ("keras", "torch")
_STUDENTS = """
def keras_student():
    import keras
    x = keras.Input((8,), name="anything")
    y = keras.layers.Dense(6, "relu", name="last")(x)
    return keras.Model(x, keras.layers.Dense(3, "softmax")(y))


def torch_student():
    import torch
    nn = torch.nn
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)), torch.zeros(2, 8)
"""


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("form", ["logits", "probabilities"])
def test_soft_targets_are_the_divergence_of_softened_outputs(framework: str, form: str, worker: Worker) -> None:
    student, teacher = (_log_softmax(each / 3.0) for each in jobs.LOGITS)
    divergence = 9 * (np.exp(teacher) * (teacher - student)).sum(axis=1).mean()
    cross_entropy = -_log_softmax(jobs.LOGITS[0])[np.arange(6), jobs.LABELS].mean()
    both = worker.run(jobs.soft_loss, framework, form, True, 3.0, 0.25)
    assert both == pytest.approx(0.25 * divergence + 0.75 * cross_entropy, rel=1e-4)
    assert worker.run(jobs.soft_loss, framework, form, False, 3.0, 0.25) == pytest.approx(divergence, rel=1e-4)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_hard_targets_are_the_teachers_largest_output(framework: str, worker: Worker) -> None:
    chances = _log_softmax(jobs.LOGITS[0])
    of_teacher = -chances[np.arange(6), jobs.LOGITS[1].argmax(axis=1)].mean()
    of_labels = -chances[np.arange(6), jobs.LABELS].mean()
    found = worker.run(jobs.hard_loss, framework, 0.4)
    assert found == pytest.approx(0.4 * of_teacher + 0.6 * of_labels, rel=1e-4)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_outputs_that_are_no_classes_are_drawn_to_the_teachers(framework: str, worker: Worker) -> None:
    numbers, sigmoids = worker.run(jobs.loss_of_numbers, framework)
    assert numbers == pytest.approx(np.square(jobs.LOGITS[0] - jobs.LOGITS[1]).mean(), rel=1e-4)
    student, teacher = (_log_softmax(each[:, :2] / 2.0) for each in jobs.LOGITS)  # a sigmoid is a softmax of two
    assert sigmoids == pytest.approx(4 * (np.exp(teacher) * (teacher - student)).sum(axis=1).mean(), rel=1e-4)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(("kind", "labelled"), [("soft", False), ("hard", True)])
def test_a_student_comes_to_agree_with_its_teacher(framework: str, kind: str, labelled: bool, worker: Worker) -> None:
    before, after, teacher_is_unchanged, is_repeatable = worker.run(jobs.distilled, framework, kind, labelled)
    assert before < 0.7 < 0.95 < after
    assert teacher_is_unchanged
    assert is_repeatable


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_fresh_student_takes_the_models_place_and_names(framework: str, worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "students.py").write_text(_STUDENTS)
    accuracy, names, numbers = worker.run(jobs.fresh_student, framework, tmp_path)
    assert accuracy > 0.9
    assert numbers == 8 * 6 + 6 + 6 * 3 + 3
    assert names == (["x", "last"] if framework == "keras" else [])


def test_a_teacher_may_be_another_file_and_labels_need_not_be(worker: Worker, tmp_path: Path) -> None:
    assert worker.run(jobs.taught_by_file, tmp_path) > 0.9


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_teacher_of_other_outputs_is_refused(framework: str, worker: Worker) -> None:
    with pytest.raises(ConfigError, match=r"teacher's outputs have shapes \(5,\) per sample and the student's \(3,\)"):
        worker.run(jobs.misfit, framework)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_noisy_student_learns_from_what_has_no_labels(framework: str, worker: Worker) -> None:
    before, after, is_repeatable = worker.run(jobs.noisy, framework)
    assert before < 0.75 < 0.9 < after
    assert is_repeatable


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_dropout_before_the_last_dense_layer_is_for_training_alone(framework: str, worker: Worker) -> None:
    assert worker.run(jobs.dropout_is_for_training_alone, framework) == (True, True)


def test_pseudo_labels_are_taken_of_answers_that_the_teacher_is_sure_of() -> None:
    known = Samples({"x": np.zeros((1, 2))}, np.array([1]))
    others = {"anything": np.arange(6.0).reshape(3, 2)}
    sure = joined(known, others, np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]), 0.7)
    assert sure.inputs["x"].tolist() == [[0, 0], [0, 1], [4, 5]]
    assert sure.y is not None
    assert sure.y.tolist() == [1, 0, 1]
    of_logits = joined(known, others, np.array([[9.0, 0.0], [0.1, 0.0], [0.0, 5.0]]), 0.7)
    assert of_logits.y is not None
    assert of_logits.y.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        (Distill, {"temperature": 0.0}),
        (Distill, {"alpha": 1.5}),
        (Distill, {"kind": "lukewarm"}),
        (NoisyStudent, {"generations": 0}),
        (NoisyStudent, {"confidence": 1.0}),
        (NoisyStudent, {"dropout": -0.1}),
        (NoisyStudent, {"noise": -1.0}),
    ],
)
def test_settings_out_of_range_are_refused(method: type, wrong: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError, match=next(iter(wrong))):
        msgspec.convert({"method": method.__struct_config__.tag, **wrong}, method)  # type: ignore[attr-defined]


def test_losses_refuse_what_the_steps_refuse() -> None:
    with pytest.raises(ValueError, match="temperature above 0"):
        soft_targets(-1.0)
    with pytest.raises(ValueError, match="alpha from 0"):
        hard_targets(2.0)


def test_steps_without_data_say_what_to_pass() -> None:
    nothing = Context(teacher=Trainable("keras", None))
    with pytest.raises(ConfigError, match=r"distill needs data.*--training, or --calibration"):
        Distill().apply(nothing.teacher, nothing)
    labelled = Context(nothing.teacher, training=Samples({"x": np.zeros((1, 2))}, np.array([1])))
    with pytest.raises(ConfigError, match=r"noisy_student needs unlabelled inputs.*--calibration"):
        NoisyStudent().apply(nothing.teacher, labelled)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
