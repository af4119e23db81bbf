"""`prune_channels`: whole channels go, and the model is smaller and faster on every engine.

In rounds: the weakest channels are removed, what is left is trained a little, and so on down to the size asked for.
Sources: filter pruning by norms, Li et al. 2017; coupled channels as in DepGraph, Fang et al. 2023; scales of batch
normalization, Liu et al. 2017; iterative pruning, Molchanov et al. 2017.
"""

from collections.abc import Mapping, Sequence
from math import inf
from typing import ClassVar, Literal

from msgspec import Struct
from msgspec.structs import replace

from edgeward_converters.compress.pruning import structure
from edgeward_converters.compress.pruning.selection import Size
from edgeward_converters.compress.pruning.sensitivity import alike, scan
from edgeward_converters.compress.pruning.structure import Criterion, Group, Structure
from edgeward_converters.compress.pruning.target import Allocation, Target, size
from edgeward_converters.compress.pruning.tuning import better_teacher, check_layers, fine_tune
from edgeward_converters.compress.step import Context, Trainable
from edgeward_converters.compress.training import Training
from edgeward_runtimes.errors import ConfigError

_STEP = "prune_channels"
_ROUND_SHARE = 0.25


class PruneChannels(Struct, frozen=True, forbid_unknown_fields=True, tag_field="method", tag=_STEP):
    """Remove channels of convolutions, units of dense and recurrent layers, with all that depends on them.

    Attributes:
        ratio: Share of all channels that may go to remove, between 0 and 1.
        keep_parameters: Share of the model's parameters to keep at most, between 0 and 1.
        keep_macs: Share of its multiplications to keep at most, between 0 and 1.
        ratios: Instead of the three: shares to remove by the layers' names, 0 up to 1; layers that are coupled follow.
        skip: Layers whose channels stay.
        allocation: For the first three, how layers share what goes: `global` removes the weakest of the whole model,
            `uniform` the same share of every layer, `sensitivity` so that each layer costs as much of the metric.
        criterion: What makes a channel weak: the `l1` or `l2` norm of its weights, or its `bn_scale`.
        multiple: Channels are left in multiples of this, which engines may be faster with.
        rounds: In how many rounds.
        training: Fine-tuning after the last round; those before train for a quarter of its epochs. None: not at all.
        distill: Whether a teacher helps in training: the source model, or the one that came to this step if better.
    """

    ratio: float | None = None
    keep_parameters: float | None = None
    keep_macs: float | None = None
    ratios: Mapping[str, float] = {}
    skip: tuple[str, ...] = ()
    allocation: Allocation = "uniform"
    criterion: Criterion = "l1"
    multiple: int = 1
    rounds: int = 3
    training: Training | None = Training()
    distill: bool = False

    needs: ClassVar[frozenset[Literal["training", "unlabelled"]]] = frozenset({"training"})

    def __post_init__(self) -> None:
        given = {"ratio": self.ratio, "keep_parameters": self.keep_parameters, "keep_macs": self.keep_macs}
        for name, value in given.items():
            if value is not None and not 0 < value < 1:
                raise ValueError(f"{_STEP} needs {name} between 0 and 1, such as 0.5; {value} came.")
        for name, value in self.ratios.items():
            if not 0 <= value < 1:
                raise ValueError(f"{_STEP} needs a ratio of 0 up to 1 for layer {name!r}; {value} came.")
        if bool(self.ratios) == any(value is not None for value in given.values()):
            raise ValueError(
                f"{_STEP} needs to know how much goes: ratio, keep_parameters or keep_macs, or instead of them ratios "
                "by layer."
            )
        if self.multiple < 1 or self.rounds < 1:
            raise ValueError(f"{_STEP} needs multiple and rounds of at least 1; {self.multiple}, {self.rounds} came.")

    def apply(self, model: Trainable, context: Context) -> Trainable:
        """A smaller model. Raises ConfigError for an unknown layer or without data, ConversionError without a graph."""
        seen = structure.of(model, self.criterion)
        groups = self._prunable(seen)
        target = self._target(seen, groups, model, context)
        teacher = better_teacher(model, context) if self.distill and self.training is not None else None
        for number in range(1, self.rounds + 1):
            if number > 1:
                seen = structure.of(model, self.criterion)
            removed = target.removed(seen, number / self.rounds)
            if removed:
                model = seen.without(removed)
            if self.training is not None and (removed or number == self.rounds):
                last = number == self.rounds
                what = "Fine-tuning" if last else f"Pruning, round {number} of {self.rounds}"
                share = 1.0 if last else _ROUND_SHARE
                fine_tune(model, context, self.training, _STEP, teacher=teacher, share=share, what=what)
        return model

    def _prunable(self, seen: Structure) -> tuple[Group, ...]:
        check_layers([*self.ratios, *self.skip], seen.names, _STEP)
        groups = tuple(group for group in seen.groups if not set(group.layers) & set(self.skip))
        for name in self.ratios:
            if not any(name in group.layers for group in groups):
                free = sorted({layer for group in groups for layer in group.layers}, key=seen.names.index)
                raise ConfigError(
                    f"{_STEP}: the channels of layer {name!r} cannot go, because they reach an output or an operation "
                    f"that needs them all; those of {', '.join(free) or 'no layer'} can."
                )
        if not groups:
            raise ConfigError(f"{_STEP}: this model has no channels that can go; leave the step out.")
        return groups

    def _target(self, seen: Structure, groups: Sequence[Group], model: Trainable, context: Context) -> Target:
        shares = Size(
            1 - self.ratio if self.ratio is not None else inf,
            self.keep_parameters if self.keep_parameters is not None else inf,
            self.keep_macs if self.keep_macs is not None else inf,
        )
        sizes = {group.name: group.size for group in groups}
        target = Target(sizes, size(seen, groups, {}), shares, self.allocation == "uniform", self.multiple)
        if self.ratios:
            return replace(target, left={group.name: 1 - self._ratio(group) for group in groups})
        if self.allocation != "sensitivity":
            return target
        if context.held_back is None:
            raise ConfigError(
                f"{_STEP}: allocation by sensitivity decides by held-back samples, and there are none; give more "
                "training samples, or use another allocation."
            )
        scanned = scan(seen, groups, model, context.held_back, context.metric, progress=context.progress)
        removed = target.least(seen, alike(groups, scanned, 1), 1)
        return replace(target, left={each.name: 1 - len(removed.get(each.name, ())) / each.size for each in groups})

    def _ratio(self, group: Group) -> float:
        return max(self.ratios.get(layer, 0.0) for layer in group.layers)
