"""Layers as rows of smaller ones: matrices by singular values, convolutions by Tucker-2 and CP.

    apply → sites of the model → ranks → stages → the model rebuilt → fine-tuned

stages     a layer's kernel and what stands in its place; pure
matrices   singular values, exact and randomized; pure
vbmf       ranks that stand out of noise; pure
forms      low rank, Tucker-2, CP: stages by rank, ratio, energy
gate       the smallest ranks that keep a score; pure
replacing  what both methods share
keras, torch   where the kernels are, and the edits of the graph
"""

from typing import Literal

from edgeward_converters.compress.factorization.forms import CanonicalPolyadic, LowRank, Tucker
from edgeward_converters.compress.factorization.replacing import Replacing, replace
from edgeward_converters.compress.step import Context, Trainable

_MOST_CHANNELS = 3.0  # a CP decomposition may need more components than there are channels


class Factorize(Replacing, frozen=True, forbid_unknown_fields=True, tag_field="method", tag="factorize"):
    """Dense layers, 1×1 convolutions, embeddings and the inputs of Keras's recurrent layers as two factors.

    By truncated singular value decomposition, randomized for large ones (`matrices.spectrum`). A layer is replaced only
    where that saves parameters: it becomes `<name>_factor_1` and, with its bias and activation, `<name>`; in PyTorch a
    Sequential under its name. Shared layers stay shared. Layers in wrappers (TimeDistributed, Bidirectional), those of
    classes of one's own, and weights that several PyTorch modules share stay as they are.

    Attributes: see `Replacing`; `rank_ratio` is the share of the smaller side, at most 1.
    """

    def __post_init__(self) -> None:
        self.check(most_ratio=1.0)

    def apply(self, model: Trainable, context: Context) -> Trainable:
        """The factorized model; `model` stays as it is. Raises ConfigError for an unknown layer or absent data."""
        return replace(model, context, self, LowRank, lambda site: site.pointwise, "factorize")


class Decompose(Replacing, frozen=True, forbid_unknown_fields=True, tag_field="method", tag="decompose"):
    """Convolutions as rows of smaller ones: Tucker-2 (Kim et al. 2016) or CP (Lebedev et al. 2015), through tensorly.

    Tucker-2 is 1×1, k×k with fewer channels, 1×1; CP is 1×1, depthwise along each spatial axis, 1×1. A convolution is
    replaced only where that saves parameters and multiplications: by `<name>_factor_1`, … and `<name>`, which has its
    bias and activation; in PyTorch by a Sequential under its name. Grouped, depthwise and transposed ones stay.

    Attributes:
        form: Which of the two.
        (rest): See `Replacing`. `rank_ratio` is for Tucker-2 the share of the input's and of the output's channels, for
            CP of the larger of the two, at most 3. An `energy` is for Tucker-2 what each projection alone keeps.
    """

    form: Literal["tucker", "cp"] = "tucker"

    def __post_init__(self) -> None:
        self.check(most_ratio=1.0 if self.form == "tucker" else _MOST_CHANNELS)

    def apply(self, model: Trainable, context: Context) -> Trainable:
        """The decomposed model; `model` stays as it is. Raises ConfigError for an unknown layer or absent data."""
        if self.form == "tucker":
            return replace(model, context, self, Tucker, lambda site: not site.pointwise, "decompose")
        return replace(
            model,
            context,
            self,
            CanonicalPolyadic,
            lambda site: not site.pointwise and site.separable != "no",
            "decompose",
        )
