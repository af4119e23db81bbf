"""The step `noisy_student`: the model labels what has no labels, and learns from it with noise, some times over."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any, ClassVar, Literal, cast

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from edgeward_converters.compress.distillation import teachers
from edgeward_converters.compress.step import Context, Samples, Trainable
from edgeward_converters.compress.training import Hooks, Training, batches, fit, labelled, losses, predict
from edgeward_converters.data import Arrays
from edgeward_runtimes.errors import ConfigError

Array = NDArray[Any]


class NoisyStudent(Struct, frozen=True, forbid_unknown_fields=True, tag_field="method", tag="noisy_student"):
    """Self-training of Xie, Luong, Hovy and Le, "Self-training with Noisy Student improves ImageNet" (2020).

    In each generation the teacher labels the unlabelled data, and the student is trained on that and on the labelled
    data: its inputs with Gaussian noise, augmented as `training` says; with its own dropout and stochastic depth, and
    with dropout before its last dense layer while it trains. The student is the next teacher. Unlike in the
    paper it goes on from the weights that it has: this is fine-tuning.

    Attributes:
        generations: How often.
        confidence: A pseudo-label counts from this probability on; for models of classes.
        noise: Standard deviation of the noise, as a share of the inputs' own. Inputs of integers get none.
        dropout: Share of what enters the last dense layer that is dropped.
        teacher: A model file or `module:function` in place of the source model.
        training: How to train each generation; pictures want `augmentation = "flip_and_shift"`.
    """

    generations: int = 2
    confidence: float = 0.7
    noise: float = 0.05
    dropout: float = 0.2
    teacher: str | None = None
    training: Training = Training()

    needs: ClassVar[frozenset[Literal["training", "unlabelled"]]] = frozenset({"training", "unlabelled"})

    def __post_init__(self) -> None:
        if self.generations < 1:
            raise ValueError(f"noisy_student needs at least 1 of generations; {self.generations} came.")
        for name in ("confidence", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"noisy_student needs {name} from 0 to below 1; {getattr(self, name)} came.")
        if not 0 <= self.noise < float("inf"):
            raise ValueError(f"noisy_student needs noise of 0 or more; {self.noise} came.")

    def apply(self, model: Trainable, context: Context) -> Trainable:
        """Train `model`. Raises ConfigError without labelled or unlabelled data, or when the teacher does not fit."""
        known = labelled(context, "noisy_student")
        if context.unlabelled is None:
            raise ConfigError(
                "The step noisy_student needs unlabelled inputs, and none were given; pass --calibration."
            )
        teacher = (
            context.teacher if self.teacher is None else teachers.load(self.teacher, "teacher", model, context.seed)
        )
        teachers.check_fit(teacher, model, known.inputs)
        for generation in range(self.generations):
            samples = joined(known, context.unlabelled, predict(teacher, context.unlabelled)[0], self.confidence)
            seed = context.seed + generation
            with _dropout(model, self.dropout, seed):
                fit(
                    model,
                    samples,
                    self.training,
                    seed=seed,
                    progress=context.progress,
                    what=f"Noisy student, generation {generation + 1} of {self.generations}",
                    hooks=Hooks(change_inputs=_noise(model, samples.inputs, self.noise, seed)),
                )
            teacher = model
        return model


def joined(known: Samples, unlabelled: Arrays, answers: Array, confidence: float) -> Samples:
    """Labelled samples, and those of the others that the teacher is sure of, with its labels.

    Args:
        known: With labels (n,) or (n, 1), or targets (n, …).
        unlabelled: By the same names as the inputs of `known`, or one array for one.
        answers: The teacher's outputs for `unlabelled` (m, …): logits or probabilities of classes, or anything else,
            which is then a target as it is.
        confidence: The least probability of the largest.
    """
    y = losses.labels(known.y)
    kind = losses.kind(answers, y)
    names = list(known.inputs)
    others = dict(zip(names, batches.ordered(unlabelled, names), strict=True))
    labels, sure = _pseudo_labels(kind, answers, confidence)
    inputs = {name: np.concatenate([known.inputs[name], others[name][sure]]) for name in names}
    return Samples(inputs, np.concatenate([losses.targets(kind, y, answers), labels[sure]]))


def _pseudo_labels(kind: losses.Kind, answers: Array, confidence: float) -> tuple[Array, NDArray[np.bool_]]:
    """A label or target for each answer, and whether the teacher is sure of it."""
    if kind == "mean_squared_error":
        return answers.astype(np.float32), np.ones(len(answers), bool)
    if kind == "binary":
        labels = (answers > 0.5).astype(np.float32)
        return labels, np.maximum(answers, 1 - answers)[:, 0] >= confidence
    probabilities = answers
    if kind == "cross_entropy_of_logits":
        powers = np.exp(answers - answers.max(axis=1, keepdims=True))
        probabilities = powers / powers.sum(axis=1, keepdims=True)
    return answers.argmax(axis=1).astype(np.int64), probabilities.max(axis=1) >= confidence


def _noise(model: Trainable, inputs: Arrays, share: float, seed: int) -> Any:
    """What adds Gaussian noise to a batch's inputs of floats."""
    generator = np.random.default_rng([seed, 2])
    spreads = [share * float(array.std()) for array in inputs.values()]

    def change(arrays: list[Array]) -> list[Array]:
        return [
            array + generator.normal(0.0, spread, array.shape).astype(np.float32) if floats and spread else array
            for array, spread, floats in zip(arrays, spreads, _takes_floats(model, arrays), strict=True)
        ]

    return change


def _takes_floats(model: Trainable, arrays: list[Array]) -> Iterator[bool]:
    """Whether each of the model's inputs is of floats, whatever the data is."""
    wanted = model.module.inputs if model.framework == "keras" else model.examples or arrays
    return ("float" in str(each.dtype) for each in wanted)


def _dropout(model: Trainable, rate: float, seed: int) -> AbstractContextManager[None]:
    module = import_module(f"{__package__}.dropout_{model.framework}")
    return cast(AbstractContextManager[None], module.dropout(model.module, rate, seed))
