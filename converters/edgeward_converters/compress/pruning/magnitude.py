"""`prune_magnitude`: the smallest weights become zero, ever more of them while the model is trained.

The share of zeros rises as s(t) = s_f + (s_i − s_f)(1 − t)³ (Zhu and Gupta, "To prune, or not to prune", 2017), so that
most go early, while the model can still make up for them, and few late. Zeros that are set may come back until the
rise is over; then the masks stay, and in the end exactly the share that was asked for is zero.
"""

from typing import ClassVar, Literal

from msgspec import Struct

from edgeward_converters.compress.pruning.kernels import kernels
from edgeward_converters.compress.pruning.masks import Masks, Scope, largest
from edgeward_converters.compress.pruning.tuning import better_teacher, fine_tune
from edgeward_converters.compress.step import Context, Trainable
from edgeward_converters.compress.training import Hooks, Training

_STEP = "prune_magnitude"


class PruneMagnitude(Struct, frozen=True, forbid_unknown_fields=True, tag_field="method", tag=_STEP):
    """Set the weights of smallest magnitude to zero.

    Attributes:
        sparsity: Share of the weights to be zero in the end, between 0 and 1.
        initial_sparsity: The share at the start of the rise, 0 up to `sparsity`.
        rise: Part of the training that the rise takes, above 0 up to 1.
        every: Batches between two new masks meanwhile.
        scope: The share holds for each `layer`, or for all of them together (`global`).
        layers: Names of the layers whose kernels are pruned; None for all (dense, convolution, recurrent, embedding).
        training: Training with the masks on. None: the masks are set once, without any.
        distill: Whether a teacher helps in training: the source model, or the one that came to this step if better.
    """

    sparsity: float = 0.5
    initial_sparsity: float = 0.0
    rise: float = 0.75
    every: int = 10
    scope: Scope = "layer"
    layers: tuple[str, ...] | None = None
    training: Training | None = Training()
    distill: bool = False

    needs: ClassVar[frozenset[Literal["training", "unlabelled"]]] = frozenset({"training"})

    def __post_init__(self) -> None:
        if not 0 < self.sparsity < 1:
            raise ValueError(f"{_STEP} needs a sparsity between 0 and 1, such as 0.5; {self.sparsity} came.")
        if not 0 <= self.initial_sparsity <= self.sparsity:
            raise ValueError(
                f"{_STEP} needs an initial_sparsity of 0 up to sparsity, {self.sparsity}; {self.initial_sparsity} came."
            )
        if not 0 < self.rise <= 1:
            raise ValueError(f"{_STEP} needs a rise above 0 up to 1, such as 0.75; {self.rise} came.")
        if self.every < 1:
            raise ValueError(f"{_STEP} needs new masks every 1 batch or more; {self.every} came.")

    def apply(self, model: Trainable, context: Context) -> Trainable:
        """Prune in place. Raises ConfigError for an unknown layer, or without training data where that is needed."""
        masks = Masks(kernels(model, self.layers, _STEP))
        teacher = better_teacher(model, context) if self.distill and self.training is not None else None
        if self.training is None:
            masks.renew(lambda values: largest(values, self.sparsity, self.scope))
            return model
        last = -1

        def before(index: int, total: int) -> None:
            nonlocal last
            end = max(1, round(self.rise * total))
            if index <= end and (last < 0 or index - last >= self.every or index == end):
                last = index
                sparsity = self._sparsity(index / end)
                masks.renew(lambda values: largest(values, sparsity, self.scope))

        hooks = Hooks(before, lambda index, total: masks.put_on())
        fine_tune(model, context, self.training, _STEP, teacher=teacher, hooks=hooks, what="Pruning weights")
        masks.renew(lambda values: largest(values, self.sparsity, self.scope))
        return model

    def _sparsity(self, done: float) -> float:
        return self.sparsity + (self.initial_sparsity - self.sparsity) * (1 - done) ** 3
