"""Every method that a recipe may name. Imports no framework: a recipe is checked before one is loaded."""

from typing import Any

from edgeward_converters.compress.distillation.distill import Distill
from edgeward_converters.compress.distillation.noisy_student import NoisyStudent
from edgeward_converters.compress.factorization import Decompose, Factorize
from edgeward_converters.compress.pruning import PruneChannels, PruneMagnitude, PruneNM
from edgeward_converters.compress.quantization_aware.step import QuantizationAware
from edgeward_converters.compress.training import FineTune

AnyStep = Any  # a Step; msgspec checks a recipe's table against the method's own struct
_STEPS = (
    PruneMagnitude,
    PruneNM,
    PruneChannels,
    Factorize,
    Decompose,
    Distill,
    NoisyStudent,
    QuantizationAware,
    FineTune,
)

METHODS: dict[str, type[Any]] = {str(step.__struct_config__.tag): step for step in _STEPS}
