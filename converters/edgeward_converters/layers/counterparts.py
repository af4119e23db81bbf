"""Which tensor of the source is a variant's tensor? Pure.

- A model's inputs and outputs belong to the source's of the same names, always.
- Names: a quantized artifact's tensors have the float artifact's names; exporters keep the source's names, several of
  them joined by `;` where they fused operations, and then the last in the source's order is what came out.
- Values: else, of the source's tensors with as many elements, the one most alike (`likeness`), whatever its axes.

A name that leads to other values, while another of the source's tensors has exactly these, was made up by an exporter
(PyTorch's numbers nodes anew), and then values win. But not where the variant leaves out what the source does: a ReLU
lost within a fused operation leaves the value of one of the other names joined, and a layer that does nothing gives
what it takes. Where many names were made up, none is believed that does not lead to the right values.
"""

import re
from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from edgeward_converters.layers.likeness import SAME_DB, Likeness, compare, is_telling, sketch, sketch_distance
from edgeward_converters.layers.tracing import INPUT, OUTPUT, Layer, only_moves

Array = NDArray[Any]

ALIKE_DB = 10.0  # below it, two tensors have nothing to do with each other
_CLOSEST = 3
_UNLIKE_SKETCH = 10 ** (-ALIKE_DB / 10)  # sorted values are at most as far apart as the tensors
_ENOUGH = 0.5
_MADE_UP = 0.1
_CALLS = re.compile(r"(Stateful)?PartitionedCall/|:\d+$")


class Counterpart(Struct, frozen=True):
    """A source tensor that belongs to a variant's tensor, `by_name` or by value.

    `layer` gives it, and `place` is its place in the source's order.
    """

    layer: str
    tensor: str
    place: int
    likeness: Likeness
    by_name: bool


class Counterparts(Struct, frozen=True):
    """By the variant's tensor. `named` says that names go far enough, so a tensor without is a helper's."""

    found: dict[str, Counterpart]
    named: bool

    def by_name(self, tensor: str) -> bool:
        """Whether the tensor has its counterpart by its name."""
        return tensor in self.found and self.found[tensor].by_name


def match(source: Sequence[Layer], variant: Sequence[Layer]) -> Counterparts:
    """Find the source's tensor for each of the variant's float tensors, inputs and outputs, as far as there is one."""
    places = _Places(source)
    arrays = {name: array for layer in variant for name, array in layer.arrays.items()}
    makers = {name: layer for layer in variant for name in layer.outputs}
    public = _public(places, variant, arrays)
    tensors = [name for name, array in arrays.items() if array.dtype.kind == "f" and name not in public]
    named: dict[str, Counterpart] = {}
    valued: dict[str, Counterpart] = {}
    before, made_up = ChainMap(named, valued), 0
    for name in tensors:
        by_name = places.by_name(name, arrays[name])
        if by_name is not None and by_name.likeness.snr_db >= SAME_DB:
            named[name] = by_name
            continue
        by_value = places.by_value(arrays[name])
        if by_value is not None:
            valued[name] = by_value
        if by_name is not None and not _is_made_up(name, by_name, by_value, makers[name], before, places):
            named[name] = by_name
        made_up += by_name is not None and name not in named
    right = {name: each for name, each in named.items() if each.likeness.snr_db >= SAME_DB}
    if made_up > _MADE_UP * len(right):
        return Counterparts({**valued, **right, **public}, named=False)
    met = {each.tensor for each in named.values()}
    goes_by_name = len(met) >= _ENOUGH * min(len(tensors), len(places))
    if goes_by_name:
        valued = {name: each for name, each in valued.items() if each.likeness.snr_db >= SAME_DB}
    return Counterparts({**valued, **named, **public}, goes_by_name)


def _is_made_up(
    name: str,
    by_name: Counterpart,
    by_value: Counterpart | None,
    maker: Layer,
    before: Mapping[str, Counterpart],
    places: "_Places",
) -> bool:
    """Whether the tensor has exactly the values of another source tensor, and not because it does nothing."""
    if by_value is None or by_value.likeness.snr_db < SAME_DB or by_value.tensor == by_name.tensor:
        return False
    is_joined = by_value.tensor in places.joined(name)
    does_nothing = not only_moves(maker) and any(
        name in before and before[name].tensor == by_value.tensor for name in maker.inputs
    )
    return not is_joined and not does_nothing


def _public(places: "_Places", variant: Sequence[Layer], arrays: dict[str, Array]) -> dict[str, Counterpart]:
    found = {}
    for layer in variant:
        ours, theirs = (*layer.inputs, *layer.outputs)[:1], places.public.get((layer.operator, layer.name))
        if theirs is not None and ours[0] in arrays:
            counterpart = places.counterpart(theirs, arrays[ours[0]], by_name=True)
            if counterpart is not None:
                found[ours[0]] = counterpart
    return found


class _Places:
    """The source's tensors, by name and by size."""

    def __init__(self, source: Sequence[Layer]) -> None:
        self.public = {
            (layer.operator, layer.name): (*layer.inputs, *layer.outputs)[0]
            for layer in source
            if layer.operator in (INPUT, OUTPUT)
        }
        self._arrays: dict[str, Array] = {}
        self._layers: dict[str, str] = {}
        self._plain: dict[str, str] = {}
        self._sizes: dict[int, list[str]] = {}
        self._sketches: dict[str, Array] = {}
        self._order: dict[str, int] = {}
        for layer in source:
            for name, array in layer.arrays.items():
                if name not in self._arrays:
                    self._add(layer, name, array)

    def _add(self, layer: Layer, name: str, array: Array) -> None:
        self._order[name] = len(self._order)
        self._arrays[name], self._layers[name] = array, layer.name
        if is_telling(array):
            self._plain.setdefault(_plain(name), name)
            self._sizes.setdefault(array.size, []).append(name)

    def __len__(self) -> int:
        return sum(map(len, self._sizes.values()))

    def by_name(self, name: str, array: Array) -> Counterpart | None:
        """The tensor of that name, or the last of the names joined in it; it must have as many elements."""
        if name in self._arrays and is_telling(self._arrays[name]):
            return self.counterpart(name, array, by_name=True)
        fitting = [part for part in self.joined(name) if self._arrays[part].size == array.size]
        if not fitting:
            return None
        return self.counterpart(max(fitting, key=self._order.__getitem__), array, by_name=True)

    def joined(self, name: str) -> set[str]:
        """The source's tensors whose names are joined in this one."""
        parts = (self._plain.get(_plain(part)) for part in name.split(";"))
        return {part for part in parts if part is not None}

    def by_value(self, array: Array) -> Counterpart | None:
        """The tensor most alike; None when none is alike at all."""
        if not is_telling(array):
            return None
        outline = sketch(array)
        distances = {name: sketch_distance(self._sketch(name), outline) for name in self._sizes.get(array.size, ())}
        closest = sorted(distances, key=distances.__getitem__)[:_CLOSEST]
        if not closest or distances[closest[0]] > _UNLIKE_SKETCH:
            return None
        best = max(closest, key=lambda name: self._first_snr_db(name, array))
        found = self.counterpart(best, array, by_name=False)
        return found if found is not None and found.likeness.snr_db >= ALIKE_DB else None

    def _first_snr_db(self, name: str, array: Array) -> float:
        """How alike the first samples are: enough to tell which source tensor it is."""
        likeness = compare(self._arrays[name][:1], array[:1])
        return -np.inf if likeness is None else likeness.snr_db

    def counterpart(self, name: str, array: Array, by_name: bool) -> Counterpart | None:
        """This source tensor, compared; None when it has other numbers of elements or of samples."""
        likeness = compare(self._arrays[name], array) if name in self._arrays else None
        return None if likeness is None else Counterpart(self._layers[name], name, self._order[name], likeness, by_name)

    def _sketch(self, name: str) -> Array:
        if name not in self._sketches:
            self._sketches[name] = sketch(np.asarray(self._arrays[name]))
        return self._sketches[name]


def _plain(name: str) -> str:
    """A name without the calls that TensorFlow wraps around it, and without its output's number."""
    return _CALLS.sub("", name)
