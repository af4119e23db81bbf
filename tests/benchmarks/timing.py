"""Fair comparisons on a busy machine: what is compared runs in turns within one process, and medians of turns count.

A machine that slows down for a while slows both sides of a turn, so a ratio taken turn by turn hardly moves where two
times taken apart would. The order within a turn alternates, so neither side always has the warmer cache.
"""

import timeit
from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Any

from msgspec import Struct

from tests.benchmarks.machine import Neighbours

_CALLS = 50  # in one turn, at least: the first few fill the caches that the other side emptied
_TURN_S = 0.001  # long against the clock's grain, short against a neighbour's slice of the processor


class Turns(Struct, frozen=True):
    """What each side took, turn by turn: seconds a call, or whatever its measure gives."""

    of: dict[str, list[float]]

    @classmethod
    def joined(cls, parts: Iterable["Turns"]) -> "Turns":
        """The turns of several takings together."""
        sides: dict[str, list[float]] = {}
        for part in parts:
            for side, figures in part.of.items():
                sides.setdefault(side, []).extend(figures)
        return cls(sides)

    def median(self, side: str) -> float:
        """The median of one side."""
        return median(self.of[side])

    def ratio(self, side: str, other: str) -> float:
        """The median over the turns of side ÷ other."""
        return median(a / b for a, b in zip(self.of[side], self.of[other], strict=True))

    def difference(self, side: str, other: str) -> float:
        """The median over the turns of side − other."""
        return median(a - b for a, b in zip(self.of[side], self.of[other], strict=True))


def take_turns(measures: Mapping[str, Callable[[], float]], turns: int, kept: int | None = None) -> Turns:
    """Call each measure once a turn, every other turn in reverse order; one turn before the first does not count.

    With `kept`, only that many of the turns count: those in which other programs had least of the machine. What needs
    two cores or a long turn cannot be seen while others have them.
    """
    taken: list[tuple[float, dict[str, float]]] = []
    for turn in range(turns + 1):
        neighbours = Neighbours()
        figures = {side: measures[side]() for side in sorted(measures, reverse=turn % 2 == 1)}
        taken.append((neighbours.share(), figures))
    quietest = sorted(taken[1:], key=lambda each: each[0])[:kept]
    return Turns({side: [figures[side] for _, figures in quietest] for side in measures})


def compare(statements: Mapping[str, str], names: Mapping[str, Any], turns: int) -> Turns:
    """Time statements, as they would stand in a loop of the user's own, with these names in reach."""
    return take_turns({side: _measure(each, names) for side, each in statements.items()}, turns)


def _measure(statement: str, names: Mapping[str, Any]) -> Callable[[], float]:
    timer = timeit.Timer(statement, globals=dict(names))
    timer.timeit(10)  # what a first call prepares is not what is measured
    calls = max(_CALLS, round(_TURN_S / (timer.timeit(10) / 10)))
    return lambda: timer.timeit(calls) / calls
