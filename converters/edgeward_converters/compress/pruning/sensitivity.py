"""What each group of channels costs in the metric, by how much of it is removed, without any training after it.

Weak channels go first, as in pruning itself. Judged by held-back samples, never by those of the evaluation.
"""

from collections.abc import Callable, Sequence

import numpy as np
from msgspec import Struct

from edgeward_converters import metrics
from edgeward_converters.compress.pruning import selection, structure
from edgeward_converters.compress.pruning.structure import Criterion, Group, Removed, Structure
from edgeward_converters.compress.step import Samples, Trainable
from edgeward_converters.compress.training import score

RATIOS = (0.125, 0.25, 0.5, 0.75)


class Sensitivity(Struct, frozen=True):
    """One group's.

    Attributes:
        name: The group's.
        layers: Those whose channels it has.
        ratios: Shares of it that were removed, ascending.
        drops: How much worse the model was then, in the metric's unit; negative when it was better.
    """

    name: str
    layers: tuple[str, ...]
    ratios: tuple[float, ...]
    drops: tuple[float, ...]


def sensitivity(
    model: Trainable,
    samples: Samples,
    metric: str = "accuracy",
    *,
    ratios: Sequence[float] = RATIOS,
    criterion: Criterion = "l1",
    progress: Callable[[str, float], None] = lambda what, done: None,
) -> tuple[Sensitivity, ...]:
    """Scan every group of a Keras or PyTorch model, which stays as it is.

    Args:
        model: What to look at.
        samples: Labelled, to judge by.
        metric: Name of the metric.
        ratios: Shares of a group to remove, ascending, each between 0 and 1.
        criterion: What makes a channel weak.
        progress: Called with what is done and how far it is.

    Raises:
        ConversionError: When the model's graph cannot be seen.
    """
    seen = structure.of(model, criterion)
    return scan(seen, seen.groups, model, samples, metric, ratios=ratios, progress=progress)


def scan(
    seen: Structure,
    groups: Sequence[Group],
    model: Trainable,
    samples: Samples,
    metric: str,
    *,
    ratios: Sequence[float] = RATIOS,
    progress: Callable[[str, float], None] = lambda what, done: None,
) -> tuple[Sensitivity, ...]:
    """`sensitivity` of some groups of a model that is seen already."""
    drop, before = metrics.get(metric).drop, score(model, samples, metric)
    found = []
    for index, group in enumerate(groups):
        drops = [drop(before, score(seen.preview(_removed(group, ratio)), samples, metric)) for ratio in ratios]
        found.append(Sensitivity(group.name, group.layers, tuple(ratios), tuple(drops)))
        progress("Scanning layers", (index + 1) / len(groups))
    return tuple(found)


def _removed(group: Group, ratio: float) -> Removed:
    return selection.weakest([group], {group.name: (1 - ratio) * group.size}, 1)


def alike(groups: Sequence[Group], scanned: Sequence[Sensitivity], multiple: int) -> selection.Plan:
    """A plan in which every group costs as much of the metric as any other, as far as the scan goes.

    The first half of the levels removes what costs nothing.
    """
    worst = max((max(each.drops) for each in scanned), default=0.0)

    def plan(level: float) -> Removed:
        allowed, part = max(2 * level - 1, 0.0) * worst, min(2 * level, 1.0)
        ratios = {each.name: part * _ratio(each, allowed) for each in scanned}
        left = {group.name: (1 - ratios[group.name]) * group.size for group in groups}
        return selection.weakest(groups, left, multiple)

    return plan


def _ratio(scanned: Sensitivity, allowed: float) -> float:
    """The largest ratio whose drop is allowed, between those that were scanned by straight lines."""
    drops = np.maximum.accumulate(np.maximum((0.0, *scanned.drops), 0.0))
    ratios = np.array((0.0, *scanned.ratios))
    last = int(np.flatnonzero(drops <= allowed)[-1])
    if last == len(drops) - 1:
        return float(ratios[last])
    share = (allowed - drops[last]) / (drops[last + 1] - drops[last])
    return float(ratios[last] + share * (ratios[last + 1] - ratios[last]))
