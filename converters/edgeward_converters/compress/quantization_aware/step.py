"""The step `quantization_aware`."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from typing import ClassVar, Literal, Protocol, cast

from msgspec import Struct

from edgeward_converters.compress.distillation import soft_targets
from edgeward_converters.compress.quantization_aware.shadow import Shadow, Weight
from edgeward_converters.compress.step import Context, Trainable
from edgeward_converters.compress.training import Hooks, Training, fit, labelled
from edgeward_runtimes.errors import ConfigError


class QuantizationAware(Struct, frozen=True, forbid_unknown_fields=True, tag_field="method", tag="quantization_aware"):
    """Fine-tune with weights and activations as post-training quantization will round them.

    What comes out is a float model as it was, whose weights stand on the grid of their bits: quantizing them afterwards
    per channel, between minimum and maximum, changes none of them.

    Attributes:
        weight_bits: Of the weights of dense layers, convolutions, recurrent layers (per output channel, symmetric) and
            embeddings (per row).
        activation_bits: Of what enters dense layers and convolutions, per tensor and asymmetric; "none" for floats.
        int4_layers: Names of layers whose weights get 4 bits, whatever the others have.
        distillation: The share of the loss that is the source model's answers, softened by a temperature of 4.
        training: How to train.
    """

    weight_bits: Literal[4, 8] = 8
    activation_bits: Literal[8, "none"] = 8
    int4_layers: tuple[str, ...] | None = None
    distillation: float = 0.0
    training: Training = Training(epochs=3, learning_rate=5e-4)

    needs: ClassVar[frozenset[Literal["training", "unlabelled"]]] = frozenset({"training"})

    def __post_init__(self) -> None:
        if self.weight_bits not in (4, 8):
            raise ValueError(f"quantization_aware needs weight_bits of 4 or 8; {self.weight_bits} came.")
        if self.activation_bits not in (8, "none"):
            raise ValueError(f'quantization_aware needs activation_bits of 8 or "none"; {self.activation_bits} came.')
        if not 0 <= self.distillation <= 1:
            raise ValueError(f"quantization_aware needs distillation from 0 to 1; {self.distillation} came.")

    def apply(self, model: Trainable, context: Context) -> Trainable:
        """Train `model`. Raises ConfigError without labelled data, and for layers that it has not."""
        samples = labelled(context, "quantization_aware")
        framework = cast(_Framework, import_module(f"{__package__}.{model.framework}"))
        weights = framework.weights(model)
        shadows = [Shadow(weight, self._bits(weight)) for weight in self._checked(weights)]

        def quantize(index: int, total: int) -> None:
            for shadow in shadows:
                shadow.quantize(index, total)

        def take(index: int, total: int) -> None:
            for shadow in shadows:
                shadow.take(index, total)

        with framework.rounded_activations(model, None if self.activation_bits == "none" else self.activation_bits):
            fit(
                model,
                samples,
                self.training,
                seed=context.seed,
                progress=context.progress,
                what="Quantization-aware fine-tuning",
                loss=soft_targets(alpha=self.distillation) if self.distillation else None,
                teacher=context.teacher if self.distillation else None,
                hooks=Hooks(quantize, take),
            )
        for shadow in shadows:
            shadow.finish()
        return model

    def _bits(self, weight: Weight) -> int:
        return 4 if weight.layer in (self.int4_layers or ()) else self.weight_bits

    def _checked(self, weights: Sequence[Weight]) -> Sequence[Weight]:
        there = [weight.layer for weight in weights]
        if not there:
            raise ConfigError(
                "The step quantization_aware found nothing to quantize in this model: no dense layer, convolution, "
                "recurrent layer or embedding."
            )
        unknown = [name for name in self.int4_layers or () if name not in there]
        if unknown:
            raise ConfigError(
                f"The step quantization_aware knows no layer {unknown[0]!r} with weights; there are "
                f"{', '.join(dict.fromkeys(there))}."
            )
        return weights


class _Framework(Protocol):
    """What each framework's module offers."""

    def weights(self, model: Trainable) -> list[Weight]: ...

    def rounded_activations(self, model: Trainable, bits: int | None) -> AbstractContextManager[None]: ...
