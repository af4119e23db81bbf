"""Which layer gets how many bits: greedy with look-ahead. Pure, but for the judge that it is given.

1. Everything in 8 bits. Where that is too much already, the layers that it hurts most go up (16, then 32) until it is
   not, or nothing helps.
2. The others go down to 4, those first whose bytes cost least. Many are tried together: all, and when that is too much
   half of them, down to one. A step that is too much alone is tried once more with the next one and the next two, which
   may bring back what it lost.
3. What was refused is tried in exchange for something smaller.

A combination that was judged once is not judged again.
"""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from edgeward_converters.quantizers.litert_mixed_judge import Verdict

Bits = dict[str, int]
Judgement = Callable[[Mapping[str, int]], Verdict]
_LOOK_AHEAD = 2
_USUAL = 8


class Choice(Struct, frozen=True):
    """A layer as the search sees it: its name, how many weights it has, and the bits that it may have."""

    name: str
    elements: int
    bits: tuple[int, ...]


class Found(Struct, frozen=True):
    """The result: bits by layer, its verdict, and how many combinations were judged."""

    bits: Bits
    verdict: Verdict
    tried: int


class Search:
    """One search; `run` it."""

    def __init__(
        self, choices: Sequence[Choice], rank: Judgement, judge: Judgement, budget: float, most: int = 200
    ) -> None:
        """Prepare.

        Args:
            choices: The layers.
            rank: What a combination loses, roughly; for the order in which layers are tried.
            judge: What a combination loses.
            budget: What the verdict's bound may be.
            most: How many combinations are judged at most; what was found by then is the result.
        """
        self._choices = {each.name: each for each in choices}
        self._rank, self._judge, self._budget, self._most = rank, judge, budget, most
        self._judged: dict[tuple[int, ...], Verdict] = {}

    def run(self) -> Found:
        """Search; the result may be over the budget when nothing is within it."""
        bits: Bits = dict.fromkeys(self._choices, _USUAL)
        if not self._fits(bits):
            bits = self._raised(bits)
        if self._fits(bits):
            refused = self._lower(bits)
            self._exchange(bits, refused)
        return Found(bits, self._verdict(bits), len(self._judged))

    def _verdict(self, bits: Bits) -> Verdict:
        key = tuple(bits[name] for name in self._choices)
        if key not in self._judged:
            self._judged[key] = self._judge(bits)
        return self._judged[key]

    def _fits(self, bits: Bits) -> bool:
        return self._verdict(bits).bound <= self._budget

    def _is_spent(self) -> bool:
        return len(self._judged) >= self._most

    def _raised(self, bits: Bits) -> Bits:
        """Step 1: one layer after another, the one that helps most."""
        for wider in (16, 32):
            able = [name for name, each in self._choices.items() if wider in each.bits]
            ranked = sorted(able, key=lambda name: self._rank({**bits, name: wider}).error)
            for name in ranked:
                if self._is_spent():
                    return bits
                risen = {**bits, name: wider}
                if self._verdict(risen).error < self._verdict(bits).error:
                    bits = risen
                if self._fits(bits):
                    return bits
        return bits

    def _lower(self, bits: Bits) -> list[str]:
        """Step 2, in place; gives the layers that were refused."""
        able = [each for each in self._choices.values() if 4 in each.bits and bits[each.name] == _USUAL]
        cost = {each.name: self._rank({**bits, each.name: 4}).error / each.elements for each in able}
        waiting, refused = sorted(cost, key=lambda name: cost[name]), []
        count = len(waiting)
        while waiting and not self._is_spent():
            if self._accept(bits, dict.fromkeys(waiting[:count], 4)):
                del waiting[:count]
                count = min(2 * count, len(waiting))
            elif count > 1:
                count = count // 2
            elif ahead := self._ahead(bits, waiting):
                del waiting[:ahead]
            else:
                refused.append(waiting.pop(0))
        return refused + waiting

    def _ahead(self, bits: Bits, waiting: list[str]) -> int:
        """How many steps together are within the budget though the first alone is not; 0 when none are."""
        for count in range(2, min(_LOOK_AHEAD + 1, len(waiting)) + 1):
            if self._accept(bits, dict.fromkeys(waiting[:count], 4)):
                return count
        return 0

    def _exchange(self, bits: Bits, refused: Sequence[str]) -> None:
        """Step 3, in place: the largest that were refused, each for the smallest that will do."""
        for name in sorted(refused, key=lambda each: -self._choices[each].elements):
            elements = self._choices[name].elements
            smaller = [each for each in self._choices.values() if bits[each.name] == 4 and each.elements < elements]
            for other in sorted(smaller, key=lambda each: each.elements):
                if self._is_spent():
                    return
                if self._accept(bits, {name: 4, other.name: _USUAL}):
                    break

    def _accept(self, bits: Bits, changes: Bits) -> bool:
        """Make the changes if they are within the budget."""
        if not self._fits({**bits, **changes}):
            return False
        bits.update(changes)
        return True
