"""Fine-tuning that all methods share: Adam with cosine decay to 0, on Keras and PyTorch models, in place.

The same seed gives the same weights: shuffling and augmentation are by numpy, TensorFlow is told to be deterministic.
BatchNorm trains as it did. Weights that are zero among others stay zero: what was pruned stays pruned. Of several
outputs, the first is the one that labels speak of, as everywhere in edgeward.

batches  which samples when, pictures flipped and shifted, what stays zero; pure
losses   which loss fits outputs and labels; pure
keras, torch   the loops
"""

import math
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, ClassVar, Literal, Protocol, cast

from msgspec import Struct
from numpy.typing import NDArray

from edgeward_converters import metrics
from edgeward_converters.compress.step import Context, Samples, Trainable
from edgeward_converters.compress.training.batches import Augmentation
from edgeward_converters.data import Arrays
from edgeward_runtimes.errors import ConfigError, ConversionError

# (outputs, targets, teacher's outputs or None) -> scalar, all of the framework's kind. Outputs are one tensor, or for a
# model of several a list. Targets are class indexes (n,) as int64 where the first output is (n, classes) and `y` has
# labels, else floats of the first output's shape; None without `y`.
Loss = Callable[[Any, Any, Any], Any]
Progress = Callable[[str, float], None]


class Training(Struct, frozen=True, forbid_unknown_fields=True):
    """How to train; a sub-table of recipes: `training = {epochs = 3}`.

    Attributes:
        epochs: Passes over the samples, parts of one allowed.
        batch_size: Samples per step; fewer where there are not as many.
        learning_rate: Of Adam (Kingma, Ba 2015) at the start; it falls to 0 as a cosine (Loshchilov, Hutter 2017).
        augmentation: `shift` moves pictures at random by up to an eighth of their size; `flip_and_shift` mirrors them,
            too, as suits what may face either way.
    """

    epochs: float = 3.0
    batch_size: int = 64
    learning_rate: float = 1e-3
    augmentation: Augmentation = "none"

    def __post_init__(self) -> None:
        if not 0 < self.epochs < float("inf"):
            raise ValueError(f"Training needs epochs above 0; {self.epochs} came.")
        if self.batch_size < 1:
            raise ValueError(f"Training needs a batch_size of at least 1; {self.batch_size} came.")
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"Training needs a learning_rate above 0, such as 0.001; {self.learning_rate} came.")


class Hooks(Struct, frozen=True):
    """What else happens in the loop; each is called with the index of the batch and how many there will be.

    Attributes:
        before_batch: Before the batch is computed.
        after_batch: After the optimizer's update: masks are applied here.
        change_inputs: Gives a batch's inputs, in the model's order, as they are to be trained on; after augmentation.
    """

    before_batch: Callable[[int, int], None] | None = None
    after_batch: Callable[[int, int], None] | None = None
    change_inputs: Callable[[list[NDArray[Any]]], list[NDArray[Any]]] | None = None


def fit(
    model: Trainable,
    samples: Samples,
    training: Training,
    *,
    seed: int,
    progress: Progress,
    what: str,
    loss: Loss | None = None,
    teacher: Trainable | None = None,
    hooks: Hooks = Hooks(),  # noqa: B008 - frozen
) -> None:
    """Train a model in place.

    Args:
        model: Left in inference mode.
        samples: Inputs by the model's names; `y` may be None when the loss does without.
        training: How long and how fast.
        seed: Of the order, the augmentation and dropout.
        progress: Called with `what` and how far it is.
        what: For the user, such as "Fine-tuning".
        loss: None for what outputs and labels call for: cross-entropy (of probabilities or logits), binary for one
            sigmoid, else mean squared error.
        teacher: A model of the same framework, whose outputs for each batch, as augmented, the loss is given.
        hooks: What else happens around each batch.

    Raises:
        ConfigError: When labels, inputs or the teacher do not fit the model.
        ConversionError: When the framework fails, or the loss is no longer a number.
    """
    if teacher is not None and teacher.framework != model.framework:
        raise ConfigError(
            f"The teacher is a model of {teacher.framework}, the student one of {model.framework}; "
            "use two of the same framework."
        )
    _framework(model).fit(model, samples, training, seed, lambda done: progress(what, done), loss, teacher, hooks)


def predict(model: Trainable, inputs: Arrays, batch_size: int = 256) -> list[NDArray[Any]]:
    """The outputs in the model's order, all samples (n, …) of each, in inference mode.

    Raises ConfigError when an input is missing.
    """
    return _framework(model).predict(model, inputs, batch_size)


def score(model: Trainable, samples: Samples, metric: str) -> float:
    """How good the first output is, by a metric's name (`edgeward_converters.metrics`).

    Raises ConfigError for an unknown metric or samples without `y`, InputError when outputs and `y` do not fit.
    """
    if samples.y is None:
        raise ConfigError(f"The metric {metric} needs labels, and these samples have no 'y'.")
    return metrics.get(metric).score(predict(model, samples.inputs)[0], samples.y)


class FineTune(Struct, frozen=True, forbid_unknown_fields=True, tag_field="method", tag="fine_tune"):
    """Plain training on the user's labelled samples."""

    training: Training = Training()

    needs: ClassVar[frozenset[Literal["training", "unlabelled"]]] = frozenset({"training"})

    def apply(self, model: Trainable, context: Context) -> Trainable:
        """Train `model`. Raises ConfigError without training data."""
        fit(
            model,
            labelled(context, "fine_tune"),
            self.training,
            seed=context.seed,
            progress=context.progress,
            what="Fine-tuning",
        )
        return model


def labelled(context: Context, step: str) -> Samples:
    """The labelled training samples. Raises ConfigError that names the step when there are none."""
    if context.training is None:
        raise ConfigError(f"The step {step} needs labelled training data, and none was given; pass --training.")
    return context.training


class _Framework(Protocol):
    """What each framework's module offers."""

    def fit(
        self,
        model: Trainable,
        samples: Samples,
        training: Training,
        seed: int,
        progress: Callable[[float], None],
        loss: Loss | None,
        teacher: Trainable | None,
        hooks: Hooks,
    ) -> None: ...

    def predict(self, model: Trainable, inputs: Arrays, batch_size: int) -> list[NDArray[Any]]: ...


def _framework(model: Trainable) -> _Framework:
    return cast(_Framework, import_module(f"{__name__}.{model.framework}"))


def check_loss(value: float, index: int) -> None:
    """Raises ConversionError when training has come to NaN or infinity."""
    if not math.isfinite(value):
        raise ConversionError(
            f"Training diverged: the loss was {value} at batch {index + 1}. Use a lower learning_rate, or data that "
            "is scaled as it was for the first training."
        )


def check_trainable(weights: Sequence[Any]) -> None:
    """Raises ConfigError when nothing of a model may be trained."""
    if not weights:
        raise ConfigError(
            "The model has no weights that may be trained: set trainable = True (Keras) or requires_grad (PyTorch) on "
            "some, or leave out the steps that train."
        )
