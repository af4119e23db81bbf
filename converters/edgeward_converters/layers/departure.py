"""Where does a variant depart from its source? Pure: two lists of layers in, one finding out.

A tensor that matches nothing in the source is no evidence by itself: fused operations and helper reshapes exist on one
side only. So each tensor gets a *quality*, and a layer is judged by what it does to it:

1. The quality of a tensor is its signal-to-noise ratio against its counterpart in the source (`counterparts`), or the
   quality of what is made of it, if that is better: whatever leads to right numbers was right. Of several uses the
   worst counts, for one may hide the fault; but for a tensor without a counterpart the best. Only floats count; a
   tensor's shape says nothing of its values. A tensor without a counterpart is at least as good as what it is made
   from when it is a helper's: where there are names to go by and it has none, and where numbers were only moved.
2. Only layers on a way to an output that disagrees are looked at.
3. A layer's *drop* is the worst quality among its inputs less the quality of its output. Layers that only pass on what
   they got wrong have none. The culprit is the first layer in the order of execution whose drop is at least half of
   the largest: later layers may amplify an error, as a softmax does, or a subtraction of nearly equal numbers.
4. Of several culprits on parallel branches, one whose output has a counterpart by name is more certain than one whose
   output has none.
5. The helpers that lead to the culprit stand with it, and of all these the layer with the most weights is named: an
   int8 convolution may be four nodes in ONNX, of which only the last has a name in the float model.
6. Where there are no names, a lost activation leaves a layer whose output is the source's before it, and only the next
   layer departs. So when the source has an activation there and the variant has none, the layer before is named.

Qualities are capped at what a variant's precision gives when all is well, so that its natural error counts for nothing:
at 100 dB for float32, where more is rounding, and at 30 dB for int8. Where no layer stands out then, the cap is raised.
"""

from collections.abc import Collection, Sequence

from edgeward_converters.layers import finding as findings
from edgeward_converters.layers.counterparts import Counterparts, match
from edgeward_converters.layers.explanation import Explanation
from edgeward_converters.layers.finding import Finding
from edgeward_converters.layers.likeness import SAME_DB
from edgeward_converters.layers.quality import Quality
from edgeward_converters.layers.tracing import INPUT, OUTPUT, Layer

_EXPECTED_DB = {"fp32": 100, "fp16": 60, "int16x8": 36, "int8": 30, "int8_dynamic": 30, "int4": 15, "mixed": 15}
_FINER_DB, _FINEST_DB = 10, 130
_LEAST_DROP_DB = 6.0  # half of the signal's precision


def locate(
    source: Sequence[Layer],
    variant: Sequence[Layer],
    outputs: Collection[str] | None = None,
    precision: str = "fp32",
) -> Finding | None:
    """Name the first layer whose output departs.

    Args:
        source: The source's layers for some samples, or those of other variants that are right.
        variant: The variant's layers for the same samples.
        outputs: Public names of the outputs that disagree; by default all that differ by more than rounding.
        precision: What the variant computes in, as in its id.

    Returns:
        None when no output differs, or no layer makes a difference of more than 6 dB.
    """
    counterparts = match(source, variant)
    disagreeing = [
        layer.inputs[0]
        for layer in variant
        if layer.operator == OUTPUT and (_differs(layer, counterparts) if outputs is None else layer.name in outputs)
    ]
    if not disagreeing:
        return None
    for cap_db in range(_EXPECTED_DB.get(precision, _EXPECTED_DB["int8"]), _FINEST_DB + 1, _FINER_DB):
        quality = Quality(variant, counterparts, disagreeing, cap_db)
        culprit = _culprit(quality, counterparts)
        if culprit is not None:
            return Explanation(source, counterparts, quality).of(culprit)
    return None


def largest_error(source: Sequence[Layer], variant: Sequence[Layer], precision: str = "fp32") -> Finding | None:
    """The layer that lies farthest from its counterpart, in decibels; for a variant that is right as a whole.

    So in a float32 variant, what seems to differ by more than rounding has been mistaken for another tensor.
    """
    found = match(source, variant).found
    rough = precision != "fp32"
    sure = {name: each for name, each in found.items() if each.likeness.snr_db >= SAME_DB or (rough and each.by_name)}
    makers = {name: layer for layer in variant if layer.operator != INPUT for name in layer.outputs if name in sure}
    if not makers:
        return None
    worst = min(makers, key=lambda name: sure[name].likeness.snr_db)
    return findings.of(makers[worst], sure[worst], "of all layers this one lies farthest from the source")


def _differs(output: Layer, counterparts: Counterparts) -> bool:
    found = counterparts.found.get(output.inputs[0])
    return found is not None and found.likeness.snr_db < SAME_DB


def _culprit(quality: Quality, counterparts: Counterparts) -> int | None:
    """The place of the culprit among the layers, or None when none has a drop worth naming."""
    drops = {place: quality.drop(each) for place, each in enumerate(quality.layers) if each.operator != INPUT}
    largest = max(drops.values(), default=0.0)
    if largest < _LEAST_DROP_DB:
        return None
    first = [place for place, drop in drops.items() if drop >= largest / 2]
    sure = [place for place in first if any(map(counterparts.by_name, quality.layers[place].outputs))]
    return min(sure or first)
