"""The step `distill`: the model, or a fresh student, learns from a teacher's answers."""

from typing import ClassVar, Literal

from msgspec import Struct

from edgeward_converters.compress.distillation import Kind, hard_targets, soft_targets, teachers
from edgeward_converters.compress.distillation.settings import check_alpha, check_temperature
from edgeward_converters.compress.step import Context, Samples, Trainable
from edgeward_converters.compress.training import Training, fit
from edgeward_runtimes.errors import ConfigError


class Distill(Struct, frozen=True, forbid_unknown_fields=True, tag_field="method", tag="distill"):
    """Train on the teacher's outputs (Hinton, Vinyals, Dean 2015), and on labels where there are any.

    Attributes:
        kind: `soft` for the teacher's probabilities, `hard` for its largest output as a label.
        temperature: Softens both for `soft`: the higher, the more the smaller outputs count.
        alpha: The teacher's share of the loss; the labels' is the rest. Without labels it is 1.
        teacher: A model file or `module:function` in place of the source model.
        student: A model file or `module:function` in place of the model that the recipe has come to.
        training: How to train.
    """

    kind: Kind = "soft"
    temperature: float = 4.0
    alpha: float = 0.7
    teacher: str | None = None
    student: str | None = None
    training: Training = Training()

    needs: ClassVar[frozenset[Literal["training", "unlabelled"]]] = frozenset({"unlabelled"})  # inputs; labels may be

    def __post_init__(self) -> None:
        check_temperature(self.temperature, "distill")
        check_alpha(self.alpha, "distill")

    def apply(self, model: Trainable, context: Context) -> Trainable:
        """Train the student. Raises ConfigError without any data, or when teacher and student do not fit."""
        samples = context.training
        if samples is None:
            if context.unlabelled is None:
                raise ConfigError(
                    "The step distill needs data to train on, and none was given; pass --training, or --calibration "
                    "for its inputs alone."
                )
            samples = Samples(context.unlabelled)
        teacher = (
            context.teacher if self.teacher is None else teachers.load(self.teacher, "teacher", model, context.seed)
        )
        student = model if self.student is None else teachers.load(self.student, "student", model, context.seed)
        teachers.check_fit(teacher, student, samples.inputs)
        fit(
            student,
            samples,
            self.training,
            seed=context.seed,
            progress=context.progress,
            what="Distilling",
            loss=soft_targets(self.temperature, self.alpha) if self.kind == "soft" else hard_targets(self.alpha),
            teacher=teacher,
        )
        return student
