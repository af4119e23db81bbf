"""LiteRT with a precision for each layer: 4, 8 or 16 bits or floats, the fewest bytes within a drop.

    litert_mixed_settings   what may be chosen from, and the data to choose by
    litert_mixed_layers     the layers, and what flows into them
    litert_mixed_rounding   integers that make a layer's error small; pure
    litert_mixed_rounds     which integers a layer gets in a combination, and the file with them
    litert_mixed_judge      what a combination loses on held-back samples; pure
    litert_mixed_search     greedy with look-ahead; pure
    litert_mixed_file       ai-edge-quantizer's file with other integers in it

MLPerf Tiny's ResNet8 on CIFAR-10 comes out in 49.0 kB at 75.3 %, where floats have 75.5 %; in int8 it has 98.6.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ai_edge_quantizer.qtyping import TFLOperationName
from ai_edge_quantizer.recipe_manager import RecipeManager
from numpy.typing import NDArray

from edgeward_converters import evaluate
from edgeward_converters.exporters.tflite_compact import compact
from edgeward_converters.quantizers import Written, batched
from edgeward_converters.quantizers.litert import ranges_of
from edgeward_converters.quantizers.litert_lookups import use_lookups
from edgeward_converters.quantizers.litert_mixed_file import FLOAT
from edgeward_converters.quantizers.litert_mixed_judge import Judge, Verdict
from edgeward_converters.quantizers.litert_mixed_layers import Layer, has_loops, layers
from edgeward_converters.quantizers.litert_mixed_rounds import Rounds
from edgeward_converters.quantizers.litert_mixed_search import Choice, Search
from edgeward_converters.quantizers.litert_mixed_settings import Basis, Mixed
from edgeward_runtimes.errors import ConversionError
from edgeward_runtimes.model import Model

Array = NDArray[Any]
_LAST_STEPS = 8  # layers that may go back up when the written file is judged


def quantize(float_artifact: Path, artifact: Path, settings: Mixed, basis: Basis) -> Written:
    """Write the smallest `.tflite` whose drop on held-back samples is within what is allowed, margin included.

    Raises:
        ConversionError: When no combination is within it, or nothing can be quantized.
        ConfigError: When there are too few samples.
    """
    workshop = _Workshop(float_artifact, artifact, settings, basis)
    budget = settings.share * basis.max_drop
    found = Search(workshop.choices(), workshop.rank, workshop.judge, budget, settings.trials).run()
    bits, verdict = dict(found.bits), workshop.write(found.bits)
    for name in _back_up(workshop.layers, bits):
        if verdict.bound <= budget:
            break
        bits[name] = 8
        verdict = workshop.write(bits)
    if verdict.bound > budget:
        raise ConversionError(
            f"of {found.tried} combinations of precisions none keeps the {basis.metric} within {budget:.2g} on the "
            f"samples held back; the nearest drops by {verdict.drop:.2g}, and may by {verdict.bound:.2g}"
        )
    return [artifact], "static" if workshop.is_static else "dynamic"


def _back_up(of: list[Layer], bits: Mapping[str, int]) -> list[str]:
    """Layers in 4 bits that go back to 8, the smallest first: LiteRT's 4-bit kernels may round otherwise."""
    return [each.name for each in reversed(of) if bits[each.name] == 4][:_LAST_STEPS]


class _Workshop:
    """Everything that is made once for all combinations of one model."""

    def __init__(self, float_artifact: Path, artifact: Path, settings: Mixed, basis: Basis) -> None:
        self._content = use_lookups(float_artifact.read_bytes())
        self._artifact, self._settings, self._basis = artifact, settings, basis
        self.layers = layers(self._content)
        if not self.layers:
            raise ConversionError("nothing was quantized: it has no weights that could be")
        self.is_static = settings.activations == "static" and not has_loops(self._content)
        self._ranges = self._calibrated() if self.is_static else None
        self._rounds = Rounds(self._content, self.layers, self._ranges, settings, basis)
        held, y = basis.held_back(settings.samples)
        self._held = held
        self._judge = Judge(self._answers(self._content), y, basis.metric)

    def choices(self) -> list[Choice]:
        """The layers as the search sees them."""
        return [
            Choice(each.name, each.elements, tuple(bits for bits in self._settings.bits if self._can_have(each, bits)))
            for each in self.layers
        ]

    def rank(self, bits: Mapping[str, int]) -> Verdict:
        """What a combination loses when each layer is rounded by itself: quick, and good enough for an order."""
        return self._judge(self._answers(self._rounds.file(bits, self._rounds.independent)))

    def judge(self, bits: Mapping[str, int]) -> Verdict:
        """What a combination loses, with its 4-bit integers written in 8."""
        return self._judge(self._answers(self._rounds.file(bits, self._rounds.sequential(bits))))

    def write(self, bits: Mapping[str, int]) -> Verdict:
        """Write a combination as it goes to devices, and judge that."""
        content = compact(self._rounds.file(bits, self._rounds.sequential(bits), packed=True), cut_names=True)
        verdict = self._judge(self._answers(content))
        self._artifact.write_bytes(content)
        return verdict

    def _can_have(self, layer: Layer, bits: int) -> bool:
        if bits == 4:
            return layer.bits == 4
        return bits in (8, FLOAT) or (self.is_static and layer.operation != "EMBEDDING_LOOKUP")

    def _calibrated(self) -> Any:
        recipe = RecipeManager()
        recipe.add_static_config(".*", TFLOperationName.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
        return ranges_of(self._content, recipe, batched(self._basis.fitted(), self._basis.batch))

    def _answers(self, content: bytes) -> Array:
        """The first output for the samples held back, by the runtime that devices use."""
        path = self._artifact.with_suffix(".trial.tflite")
        path.write_bytes(content)
        try:
            with Model.of(path, "litert", self._basis.inputs, self._basis.outputs) as model:
                return evaluate.predict_all(model, self._held)[self._basis.outputs[0].name]
        finally:
            path.unlink(missing_ok=True)
