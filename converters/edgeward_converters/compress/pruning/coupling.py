"""Which channels depend on each other: a union-find over single channels, whatever the layers.

Every channel of every tensor has a number. Operations hand numbers on (a pooling), put them in a row (a
concatenation), repeat them (a flattening, row by row) or unite them (an addition). Numbers that are united form an
element: it is removed everywhere, or nowhere. What is not understood pins its channels, and they stay.
"""

import numpy as np
from numpy.typing import NDArray

Channels = NDArray[np.intp]


class Coupling:
    """Numbers channels, unites them, and pins those that stay."""

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._pinned: list[int] = []

    def fresh(self, count: int) -> Channels:
        """Numbers for `count` new channels."""
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return np.arange(first, first + count)

    def pinned(self, count: int) -> Channels:
        """Numbers for `count` new channels that stay."""
        channels = self.fresh(count)
        self.pin(channels)
        return channels

    def pin(self, channels: Channels) -> None:
        """These stay, with all that they are united with."""
        self._pinned.extend(channels.tolist())

    def unite(self, first: Channels, second: Channels) -> None:
        """Pair by pair, both stay or both go; the lower number stands for both."""
        for one, other in zip(first.tolist(), second.tolist(), strict=True):
            low, high = sorted((self._root(one), self._root(other)))
            self._parents[high] = low

    def elements(self) -> tuple[Channels, NDArray[np.bool_]]:
        """For every channel the number that stands for its element, and whether that may go."""
        roots = np.array([self._root(channel) for channel in range(len(self._parents))], np.intp)
        free = np.ones(len(roots), bool)
        free[roots[self._pinned]] = False
        return roots, free[roots]

    def _root(self, channel: int) -> int:
        parents = self._parents
        while parents[channel] != channel:
            parents[channel] = parents[parents[channel]]
            channel = parents[channel]
        return channel
