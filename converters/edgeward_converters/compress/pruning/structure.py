"""What structured pruning sees of a model: groups of channels that can only go together, and what is left without them.

A residual addition couples the channels of all layers that add up, so they form one group; element i of a group is
one channel of each of its layers. Pure but for `of`, which asks the model's framework.
"""

from collections.abc import Iterable
from typing import Any, Literal, Protocol

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from edgeward_converters.compress.step import Trainable

Criterion = Literal["l1", "l2", "bn_scale"]
# By a group's name, which of its elements go: indexes in ascending order.
Removed = dict[str, NDArray[np.intp]]


class Group(Struct, frozen=True):
    """Channels that go together.

    Attributes:
        name: The first layer's, or where another group has that, all of them with "+" between.
        layers: Names of the layers whose output channels these are, in the model's order.
        scores: (n,) how much each element matters; compared within the group only.
    """

    name: str
    layers: tuple[str, ...]
    scores: NDArray[np.float64]

    @property
    def size(self) -> int:
        """How many elements it has."""
        return len(self.scores)


def named_groups(groups: Iterable[tuple[tuple[str, ...], NDArray[np.float64]]]) -> tuple[Group, ...]:
    """Groups from their layers and scores, each with a name of its own."""
    named: dict[str, Group] = {}
    for layers, scores in groups:
        name = "+".join(layers) if layers[0] in named else layers[0]
        named[name] = Group(name, layers, scores)
    return tuple(named.values())


class Cost(Struct, frozen=True):
    """How large a model is: its weights, and multiplications for one sample in layers that are understood."""

    parameters: int
    macs: int


class Structure(Protocol):
    """A model, seen for pruning.

    Attributes:
        groups: What may go. Channels that reach an output, or an operation that is not understood, are in none.
        names: Every layer of the model that has weights.
    """

    groups: tuple[Group, ...]
    names: tuple[str, ...]

    def cost(self, removed: Removed) -> Cost:
        """The size of the model without these."""
        ...

    def without(self, removed: Removed) -> Trainable:
        """A smaller model without these; the one it is made of stays as it is."""
        ...

    def preview(self, removed: Removed) -> Trainable:
        """A model that computes what the one without these does, made at less cost; good until the next preview."""
        ...


def of(model: Trainable, criterion: Criterion) -> Structure:
    """The structure of a Keras or PyTorch model. Raises ConversionError when its graph cannot be seen."""
    module: Any
    if model.framework == "keras":
        from edgeward_converters.compress.pruning import structure_keras as module
    else:
        from edgeward_converters.compress.pruning import structure_torch as module
    structure: Structure = module.structure(model, criterion)
    return structure
