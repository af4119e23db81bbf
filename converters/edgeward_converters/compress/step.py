"""A step of a recipe: one method with its parameters, from a live model to a better one.

Steps are frozen structs whose fields are the keys of a recipe's `[[step]]` table, so what a recipe may say is what a
step declares, and a wrong value is known before anything runs. `apply` runs in the worker, where the framework is.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Literal, Protocol

from msgspec import Struct
from numpy.typing import NDArray

from edgeward_converters.data import Arrays

Framework = Literal["keras", "torch"]


class Trainable(Struct, frozen=True):
    """A live model that can be trained.

    Attributes:
        framework: Whose model it is.
        module: A keras.Model, or a torch.nn.Module.
        examples: PyTorch's example inputs, a tuple of tensors with a batch axis; None for Keras.
    """

    framework: Framework
    module: Any
    examples: tuple[Any, ...] | None = None


class Samples(Struct, frozen=True):
    """Inputs by name, each (n, …), and what is true of them: labels (n,) or targets (n, …); None when unknown."""

    inputs: Arrays
    y: NDArray[Any] | None = None


class Context(Struct, frozen=True):
    """What a step may use beside the model. The evaluation data is not here: it judges, and nothing may fit it.

    Attributes:
        teacher: The source model as it came; not to be changed.
        training: Labelled samples to train on, None where the user gave none.
        held_back: Labelled samples to decide by (ranks, ratios, early stopping): a part of the training data that
            `training` does not have.
        unlabelled: Calibration inputs, None where the user gave none.
        metric: Name of the metric (`edgeward_converters.metrics`) that the user judges by.
        max_drop: How much of it the whole recipe may cost, in the metric's unit.
        seed: For everything random; the same seed gives the same bytes.
        progress: Called with what is being done and how far it is, 0 to 1.
    """

    teacher: Trainable
    training: Samples | None = None
    held_back: Samples | None = None
    unlabelled: Arrays | None = None
    metric: str = "accuracy"
    max_drop: float = 0.01
    seed: int = 0
    progress: Callable[[str, float], None] = lambda what, done: None


class Step(Protocol):
    """One method with its parameters; a frozen msgspec struct, `tag_field="method"`.

    Attributes:
        needs: The data without which it cannot run; checked before anything is.
    """

    needs: ClassVar[frozenset[Literal["training", "unlabelled"]]]

    def apply(self, model: Trainable, context: Context) -> Trainable:
        """Give the model that the method makes of `model`, which may be changed on the way.

        Raises:
            ConfigError: When the recipe asks for what this model has not, such as an unknown layer.
            ConversionError: When the method fails.
        """
        ...
