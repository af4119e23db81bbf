"""How small a model is to become, round by round, and what goes for it in each."""

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from edgeward_converters.compress.pruning import selection
from edgeward_converters.compress.pruning.selection import Plan, Size
from edgeward_converters.compress.pruning.structure import Group, Removed, Structure
from edgeward_runtimes.errors import ConfigError

Allocation = Literal["global", "uniform", "sensitivity"]
# Of what a uniform ratio would leave of a group, this much stays at least: a layer of few channels is a bottleneck.
_LEAST = 0.25


class Target(Struct, frozen=True):
    """What is to be left in the end.

    Attributes:
        sizes: The groups that may lose channels, by name, and how many they had at first.
        original: The size of the model at first, with these groups' channels.
        shares: What may be left of each number; infinite where that is free.
        uniform: Whether every group loses the same share, or the weakest go wherever they are.
        multiple: Channels are left in multiples of this.
        left: Shares to be left of the groups by name, where these are settled.
    """

    sizes: Mapping[str, int]
    original: Size
    shares: Size
    uniform: bool
    multiple: int
    left: Mapping[str, float] | None = None

    def removed(self, seen: Structure, done: float) -> Removed:
        """What goes of the model as it is now, so that `done` of the way is gone, in equal factors from round to round.

        Raises ConfigError when the whole way cannot be gone.
        """
        groups = self.groups(seen)
        if self.left is not None:
            wanted = {name: self.sizes[name] * share**done for name, share in self.left.items()}
            return selection.weakest(groups, wanted, self.multiple)
        removed = self.least(seen, self._plan(groups), done)
        if done == 1:
            self._check(seen, groups, removed)
        return removed

    def groups(self, seen: Structure) -> list[Group]:
        """Those that may lose channels, as they are now."""
        return [group for group in seen.groups if group.name in self.sizes]

    def least(self, seen: Structure, plan: Plan, done: float) -> Removed:
        """The least that a plan removes for it."""
        groups, most = self.groups(seen), self.original.times(self.shares, done)

        def reached(removed: Removed) -> bool:
            if _channels(groups, removed) > most.channels:
                return False
            free = most.parameters == most.macs == float("inf")
            return free or size(seen, groups, removed).within(most)

        return selection.least(plan, reached)

    def _plan(self, groups: Sequence[Group]) -> Plan:
        if self.uniform:
            return selection.uniform(groups, self.sizes, self.multiple)
        share = _LEAST * min(self.shares.channels, self.shares.parameters, self.shares.macs)
        least = {group.name: max(1.0, share * self.sizes[group.name]) for group in groups}
        return selection.everywhere(groups, least, self.multiple)

    def _check(self, seen: Structure, groups: Sequence[Group], removed: Removed) -> None:
        left, most = size(seen, groups, removed), self.original.times(self.shares, 1)
        for what in ("parameters", "macs"):
            if getattr(left, what) > getattr(most, what):
                share = getattr(left, what) / getattr(self.original, what)
                raise ConfigError(
                    f"prune_channels cannot keep only {getattr(self.shares, what):g} of the {what}: {share:.3f} are "
                    f"left when all is removed that can be. Raise keep_{what}, or skip fewer layers."
                )


def size(seen: Structure, groups: Sequence[Group], removed: Removed) -> Size:
    """How large a model is without these, with the channels of these groups."""
    cost = seen.cost(removed)
    return Size(_channels(groups, removed), cost.parameters, cost.macs)


def _channels(groups: Sequence[Group], removed: Removed) -> int:
    return sum(group.size for group in groups) - sum(len(indexes) for indexes in removed.values())
