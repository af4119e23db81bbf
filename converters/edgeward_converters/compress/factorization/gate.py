"""The smallest ranks that keep a score. Pure: what a choice is worth is asked for.

Two ways are gone, and the smaller end is taken. One starts from the farthest step that all sites can take together, the
other from none; then each site goes further, the largest first. All by halving, because a smaller rank is hardly ever
better.
"""

from collections.abc import Callable, Mapping

Steps = dict[str, int]


def search(sites: Mapping[str, int], steps: int, holds: Callable[[Steps], bool], size: Callable[[Steps], int]) -> Steps:
    """For each site how far it may go: 0 stays as it is, `steps` is the smallest.

    Args:
        sites: By name how large each is.
        steps: How many there are.
        holds: Whether a choice keeps the score; that of all zeros does. Asked once for each.
        size: How large a choice is.
    """
    known: dict[tuple[int, ...], bool] = {}

    def once(choice: Steps) -> bool:
        key = tuple(choice[name] for name in sites)
        if key not in known:
            known[key] = holds(choice)
        return known[key]

    common = _farthest(0, steps, lambda step: once(dict.fromkeys(sites, step)))
    ends = [_one_by_one(dict.fromkeys(sites, start), sites, steps, once) for start in dict.fromkeys((common, 0))]
    return min(ends, key=size)


def evaluations(sites: int, steps: int) -> int:
    """At most how often `search` asks."""
    return (2 * sites + 1) * steps.bit_length()


def _one_by_one(start: Steps, sites: Mapping[str, int], steps: int, holds: Callable[[Steps], bool]) -> Steps:
    chosen = dict(start)
    for name in sorted(sites, key=lambda each: -sites[each]):
        chosen[name] = _farthest(chosen[name], steps, _of_one(chosen, name, holds))
    return chosen


def _of_one(chosen: Steps, name: str, holds: Callable[[Steps], bool]) -> Callable[[int], bool]:
    return lambda step: holds({**chosen, name: step})


def _farthest(known: int, most: int, holds: Callable[[int], bool]) -> int:
    """The farthest step that holds, where `known` does."""
    low, high = known, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
