"""What the tests of distillation do in the worker, where frameworks are."""

from pathlib import Path
from typing import Any

import numpy as np

from edgeward_converters.compress.distillation import hard_targets, soft_targets
from edgeward_converters.compress.distillation.distill import Distill
from edgeward_converters.compress.distillation.noisy_student import NoisyStudent
from edgeward_converters.compress.step import Samples, Trainable
from edgeward_converters.compress.training import Training, fit, predict, score
from tests.unit import training_jobs as jobs

_SOME = np.random.default_rng(1)
LOGITS = (_SOME.normal(0, 2, (6, 4)).astype(np.float32), _SOME.normal(0, 2, (6, 4)).astype(np.float32))
LABELS = np.arange(6) % 4
_LONGER = Training(epochs=8, batch_size=32, learning_rate=2e-2)


def soft_loss(framework: str, form: str, labelled: bool, temperature: float, alpha: float) -> float:
    """The loss of `LOGITS`, given as they are or as probabilities."""
    student, teacher = (_softmax(each) if form == "probabilities" else each for each in LOGITS)
    return _value(framework, soft_targets(temperature, alpha), student, LABELS if labelled else None, teacher)


def hard_loss(framework: str, alpha: float) -> float:
    return _value(framework, hard_targets(alpha), LOGITS[0], LABELS, LOGITS[1])


def loss_of_numbers(framework: str) -> tuple[float, float]:
    """Of outputs that are no classes, and of one sigmoid."""
    loss = soft_targets(2.0, 1.0)
    numbers = _value(framework, loss, LOGITS[0][:, :, None], None, LOGITS[1][:, :, None])
    sigmoids = [_softmax(each[:, :2])[:, 1:] for each in LOGITS]
    return numbers, _value(framework, loss, sigmoids[0], None, sigmoids[1])


def distilled(framework: str, kind: str, labelled: bool) -> tuple[float, float, bool, bool]:
    """How often the student agrees with its teacher, before and after; is the teacher unchanged; same for a seed."""
    samples = jobs.vectors(3)
    teacher = jobs.dense(framework, activation=None)
    fit(teacher, samples, jobs.QUICK, seed=0, progress=lambda what, done: None, what="")
    step = Distill(kind=kind, alpha=1.0, training=jobs.QUICK)  # type: ignore[arg-type]
    state, said = jobs.digest(teacher), predict(teacher, samples.inputs)[0].argmax(axis=1)
    agreement, digests = [], []
    for seed in (0, 0):
        student = jobs.dense(framework, hidden=12)  # of probabilities, as the teacher is of logits
        agreement.append(score(student, Samples(samples.inputs, said), "accuracy"))
        data = {"training": samples} if labelled else {"unlabelled": samples.inputs}
        student = step.apply(student, jobs.Context(teacher=teacher, seed=seed, **data))
        agreement.append(score(student, Samples(samples.inputs, said), "accuracy"))
        digests.append(jobs.digest(student))
    return agreement[0], agreement[1], jobs.digest(teacher) == state, digests[0] == digests[1]


def fresh_student(framework: str, folder: Path) -> tuple[float, list[str], int]:
    """A student from `module:function`: what it scores, its tensors' names, and how many numbers it has."""
    import sys

    sys.path.insert(0, str(folder))
    samples = jobs.vectors(3)
    teacher = jobs.dense(framework)
    fit(teacher, samples, jobs.QUICK, seed=0, progress=lambda what, done: None, what="")
    step = Distill(student=f"students:{framework}_student", training=_LONGER)
    student = step.apply(jobs.dense(framework), jobs.context(teacher, samples))
    names = []
    if framework == "keras":
        names = [student.module.inputs[0].name, *student.module.output_names]
    return score(student, samples, "accuracy"), names, sum(array.size for array in jobs.arrays(student))


def taught_by_file(folder: Path) -> float:
    """A Keras teacher from a file."""
    samples = jobs.vectors(3)
    teacher = jobs.dense("keras")
    fit(teacher, samples, jobs.QUICK, seed=0, progress=lambda what, done: None, what="")
    teacher.module.save(folder / "teacher.keras")
    student = jobs.dense("keras")
    untaught = jobs.context(jobs.dense("keras"), None, unlabelled=samples.inputs)
    Distill(teacher=str(folder / "teacher.keras"), training=_LONGER).apply(student, untaught)
    return score(student, samples, "accuracy")


def misfit(framework: str) -> None:
    """A teacher of five classes for a student of three."""
    step = Distill(training=jobs.QUICK)
    step.apply(jobs.dense(framework), jobs.context(jobs.dense(framework, outputs=5), jobs.vectors()))


def noisy(framework: str) -> tuple[float, float, bool]:
    """Accuracy on unseen samples before and after, few of which are labelled; and the same again for the seed."""
    everything = jobs.vectors(3)
    inputs = everything.inputs["x"]
    known = Samples({"x": inputs[:60]}, everything.y[:60])
    unseen = Samples({"x": inputs[180:]}, everything.y[180:])
    weights, scores = [], []
    for _ in range(2):
        model = jobs.dense(framework)
        scores.append(score(model, unseen, "accuracy"))
        teacher = jobs.dense(framework)
        fit(teacher, known, _LONGER, seed=0, progress=lambda what, done: None, what="")
        step = NoisyStudent(training=_LONGER, confidence=0.6)
        step.apply(model, jobs.context(teacher, known, unlabelled={"x": inputs[60:180]}))
        scores.append(score(model, unseen, "accuracy"))
        weights.append(jobs.digest(model))
    return scores[0], scores[1], weights[0] == weights[1]


def dropout_is_for_training_alone(framework: str) -> tuple[bool, bool]:
    """Whether outputs differ while it trains, and are as before afterwards."""
    from importlib import import_module

    module = import_module(f"edgeward_converters.compress.distillation.dropout_{framework}")
    model, x = jobs.dense(framework), jobs.vectors().inputs["x"]
    before = _in_training(model, x)
    with module.dropout(model.module, 0.5, 0):
        meanwhile = _in_training(model, x)
    return bool((before != meanwhile).any()), bool((before == _in_training(model, x)).all())


def _in_training(model: Trainable, x: Any) -> Any:
    if model.framework == "keras":
        return np.asarray(model.module(x, training=True))
    import torch

    return model.module.train()(torch.from_numpy(x)).detach().numpy()


def _value(framework: str, loss: Any, student: Any, labels: Any, teacher: Any) -> float:
    if framework == "keras":
        import tensorflow as tf

        return float(loss(*(None if each is None else tf.constant(each) for each in (student, labels, teacher))))
    import torch

    return float(loss(*(None if each is None else torch.from_numpy(each) for each in (student, labels, teacher))))


def _softmax(logits: Any) -> Any:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
