"""What a mixed precision may be made of, and the data that it is chosen by. Pure: no engine is imported here."""

from typing import Any, Literal

from msgspec import Struct
from numpy.typing import NDArray

from edgeward_converters.data import Arrays
from edgeward_runtimes.errors import ConfigError
from edgeward_runtimes.manifest import Tensor

BITS = (4, 8, 16, 32)
ALGORITHMS = ("min_max", "mse", "octav", "compensated")
FITTED_SAMPLES = 512
_FEWEST = 32


class Mixed(Struct, frozen=True, forbid_unknown_fields=True):
    """How the search goes about it.

    Attributes:
        bits: What a layer may have: 4 and 8 of its weights, 16 of its activations, 32 is float. 8 is always there.
        algorithms: How integers of 4 bits may be chosen; of each channel the best is taken. `compensated` is
            coordinate descent on what calibration says of the layer's inputs, the others are ai-edge-quantizer's.
        activations: `static` are quantized by ranges that calibration found, `dynamic` while running, which is nearer
            to the float model and smaller, and slower.
        share: Of the drop that is allowed, how much the search may spend, above 0 and up to 1.
        samples: How many held-back samples judge, at most.
        trials: How many combinations are judged, at most.
    """

    bits: tuple[int, ...] = BITS
    algorithms: tuple[str, ...] = ALGORITHMS
    activations: Literal["static", "dynamic"] = "dynamic"
    share: float = 1.0
    samples: int = 4000
    trials: int = 40

    def __post_init__(self) -> None:
        if not self.bits or not set(self.bits) <= set(BITS):
            raise ValueError(f"The bits of a mixed precision are {list(self.bits)}; expected some of {list(BITS)}.")
        if not self.algorithms or not set(self.algorithms) <= set(ALGORITHMS):
            raise ValueError(
                f"The algorithms of a mixed precision are {list(self.algorithms)}; expected some of {list(ALGORITHMS)}."
            )
        if not 0 < self.share <= 1:
            raise ValueError(f"The share of a mixed precision is {self.share}; expected above 0 and up to 1.")
        if self.samples < _FEWEST or self.trials < 1:
            raise ValueError(
                f"The samples and trials of a mixed precision are {self.samples} and {self.trials}; expected at least "
                f"{_FEWEST} and 1."
            )


class Basis(Struct, frozen=True):
    """What a mixed precision is chosen by. The evaluation data is not here.

    Attributes:
        calibration: Arrays by input name. The first half, of at most 512 samples, is what ranges and roundings are
            fitted to; the rest is held back and judges.
        y: Their labels or targets, None where the calibration data has none.
        inputs, outputs: The model's tensors.
        metric: What the user judges by, or `cosine`.
        max_drop: How much of it may be lost.
        batch: How many samples the model takes at a time.
    """

    calibration: Arrays
    y: NDArray[Any] | None
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    metric: str
    max_drop: float
    batch: int = 1

    def fitted(self) -> Arrays:
        """The samples to fit to."""
        return {name: array[: self._cut()] for name, array in self.calibration.items()}

    def held_back(self, samples: int) -> tuple[Arrays, NDArray[Any] | None]:
        """The samples to judge by, and their labels.

        Raises:
            ConfigError: When there are too few to judge by.
        """
        cut = self._cut()
        part = slice(cut, cut + samples)
        held = {name: array[part] for name, array in self.calibration.items()}
        count = len(next(iter(held.values())))
        if count < _FEWEST:
            raise ConfigError(
                f"A mixed precision is judged on calibration samples that are held back; there are {count}, and at "
                f"least {_FEWEST} are needed. Give {2 * _FEWEST} samples or more by --calibration."
            )
        return held, None if self.y is None else self.y[part]

    def _cut(self) -> int:
        return min(FITTED_SAMPLES, len(next(iter(self.calibration.values()))) // 2)
