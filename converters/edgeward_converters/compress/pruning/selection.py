"""Which channels go: from scores, and from how much must be saved, to indexes. Pure.

A plan takes a level between 0 (nothing goes) and 1, and gives indexes; more goes at a higher level. What the user asks
for is a size, and the least level that comes down to it is found by bisection.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from msgspec import Struct

from edgeward_converters.compress.pruning.structure import Group, Removed

Plan = Callable[[float], Removed]
_BISECTIONS = 24


class Size(Struct, frozen=True):
    """How large a model is, or at most may be; infinite where that is free.

    Attributes:
        channels: Of all groups together.
    """

    channels: float = float("inf")
    parameters: float = float("inf")
    macs: float = float("inf")

    def times(self, shares: "Size", power: float) -> "Size":
        """Each number times its share to a power; an infinite share leaves it free."""
        return Size(
            self.channels * shares.channels**power,
            self.parameters * shares.parameters**power,
            self.macs * shares.macs**power,
        )

    def within(self, most: "Size") -> bool:
        """Whether no number is larger than it may be."""
        return self.channels <= most.channels and self.parameters <= most.parameters and self.macs <= most.macs


def uniform(groups: Sequence[Group], sizes: Mapping[str, int], multiple: int) -> Plan:
    """Every group loses the same share of what it had at first, `sizes`."""
    return lambda level: weakest(groups, {group.name: (1 - level) * sizes[group.name] for group in groups}, multiple)


def everywhere(groups: Sequence[Group], least: Mapping[str, float], multiple: int) -> Plan:
    """The weakest of the whole model go, each relative to its group's mean; of each group so many stay at least."""
    relative = [group.scores / (group.scores.mean() or 1.0) for group in groups]
    pool = np.sort(np.concatenate([np.empty(0), *relative]))

    def plan(level: float) -> Removed:
        going = round(level * len(pool))
        limit = pool[going] if going < len(pool) else np.inf
        left = {
            group.name: max(float((scores >= limit).sum()), least[group.name])
            for group, scores in zip(groups, relative, strict=True)
        }
        return weakest(groups, left, multiple)

    return plan


def weakest(groups: Sequence[Group], left: Mapping[str, float], multiple: int) -> Removed:
    """All but so many of each group that is named; the elements with the lowest scores go, of equal ones the first."""
    removed = {
        group.name: np.sort(
            np.argsort(group.scores, kind="stable")[: group.size - _whole(left[group.name], group, multiple)]
        )
        for group in groups
        if group.name in left
    }
    return {name: indexes for name, indexes in removed.items() if len(indexes)}


def least(plan: Plan, reached: Callable[[Removed], bool]) -> Removed:
    """What goes at the least level that is reached; at level 1 when none is."""
    low, high = 0.0, 1.0
    if reached(plan(low)):
        return plan(low)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(plan(middle)) else (middle, high)
    return plan(high)


def _whole(left: float, group: Group, multiple: int) -> int:
    """The nearest multiple that a group has; one element always stays, and a group below the multiple as it is."""
    if group.size < multiple:
        return group.size
    return min(max(round(left / multiple), 1) * multiple, group.size)
