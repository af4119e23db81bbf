"""`prune_n_m`: of every m consecutive weights along the inputs, n stay; 2:4 is what sparse tensor cores take.

The masks are set by magnitude (Mishra et al., "Accelerating sparse deep neural networks", 2021) and held in training.
"""

from typing import ClassVar, Literal

import numpy as np
from msgspec import Struct

from edgeward_converters.compress.pruning.kernels import Kernel, kernels
from edgeward_converters.compress.pruning.masks import Array, Masks, n_of_m
from edgeward_converters.compress.pruning.tuning import better_teacher, fine_tune
from edgeward_converters.compress.step import Context, Trainable
from edgeward_converters.compress.training import Hooks, Training
from edgeward_runtimes.errors import ConfigError

_STEP = "prune_n_m"


class PruneNM(Struct, frozen=True, forbid_unknown_fields=True, tag_field="method", tag=_STEP):
    """Keep the n largest of every m consecutive weights along the input axis.

    Kernels with fewer than m inputs stay as they are, and so do embeddings and depthwise convolutions, which sum over
    no inputs.

    Attributes:
        n: How many stay, of every
        m: consecutive weights.
        layers: Names of the layers whose kernels are pruned; None for all that have m inputs.
        training: Training with the masks on. None: the masks are set without any.
        distill: Whether a teacher helps in training: the source model, or the one that came to this step if better.
    """

    n: int = 2
    m: int = 4
    layers: tuple[str, ...] | None = None
    training: Training | None = Training()
    distill: bool = False

    needs: ClassVar[frozenset[Literal["training", "unlabelled"]]] = frozenset({"training"})

    def __post_init__(self) -> None:
        if not 0 < self.n < self.m:
            raise ValueError(f"{_STEP} needs n of at least 1 and below m, such as 2 of 4; {self.n} of {self.m} came.")

    def apply(self, model: Trainable, context: Context) -> Trainable:
        """Prune in place. Raises ConfigError for an unknown layer, or without training data where that is needed."""
        pruned = [each for each in kernels(model, self.layers, _STEP) if self._inputs(each) >= self.m]
        if not pruned:
            raise ConfigError(
                f"{_STEP}: no layer has {self.m} inputs or more to prune; lower m, or leave the step out."
            )
        masks = Masks(pruned)
        teacher = better_teacher(model, context) if self.distill and self.training is not None else None
        masks.renew(lambda values: [self._mask(kernel, each) for kernel, each in zip(pruned, values, strict=True)])
        if self.training is not None:
            hooks = Hooks(after_batch=lambda index, total: masks.put_on())
            fine_tune(model, context, self.training, _STEP, teacher=teacher, hooks=hooks)
        return model

    def _inputs(self, kernel: Kernel) -> int:
        return 0 if kernel.input_axis is None else int(kernel.read().shape[kernel.input_axis])

    def _mask(self, kernel: Kernel, values: Array) -> Array:
        if kernel.input_axis is None:
            return np.ones(values.shape, np.float32)
        return n_of_m(values, kernel.input_axis, self.n, self.m)
