"""What there is to say of a culprit: its name, what it should give, what is near. Pure; `departure` has the rules."""

import re
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from edgeward_converters.layers import finding as findings
from edgeward_converters.layers.counterparts import ALIKE_DB, Counterpart, Counterparts
from edgeward_converters.layers.finding import Finding, Step
from edgeward_converters.layers.likeness import SAME_DB, compare
from edgeward_converters.layers.quality import Quality
from edgeward_converters.layers.tracing import INPUT, Layer, only_moves

_AROUND = 3
_UNFUSED = 2.0  # a source's convolution and normalization have up to twice the weights of the two as one
_ACTIVATIONS = re.compile("relu|elu|silu|swish|sigmoid|logistic|tanh|softplus|clip|clamp|activation")


class Explanation:
    """The source's layers, which of their tensors the variant's belong to, and how good the variant's are."""

    def __init__(self, source: Sequence[Layer], counterparts: Counterparts, quality: Quality) -> None:
        self._source, self._counterparts, self._quality = source, counterparts, quality
        self._found = counterparts.found

    def of(self, place: int) -> Finding:
        """The finding on the layer at this place among those of `quality`."""
        quality = self._quality
        culprit = quality.layers[place]
        taken = list(self._taken(culprit))
        following = list(self._following(culprit, [self._found[name].tensor for name in taken]))
        bare = self._without_activation(culprit, following, [quality.maker(name) for name in taken])
        if bare is not None:
            reason = f"it gives what the source has before {following[0].name}, not after"
            return self._finding(place, bare, self._best(following[:1], bare), reason)
        named = max([culprit, *self._helpers(culprit)], key=lambda each: each.weights_bytes)
        counterpart = self._helped(named) if named is not culprit else None
        counterpart = counterpart or self._counterpart(culprit, following)
        reason = f"what it takes agrees with the source ({quality.of_inputs(culprit):.0f} dB), what it gives does not"
        finding = self._finding(place, named, counterpart, reason)
        return finding if counterpart else replace(finding, nearest_source_layer=self._nearest(taken))

    def _finding(self, place: int, named: Layer, counterpart: Counterpart | None, reason: str) -> Finding:
        """The finding on the layer named, which may stand a little before the culprit's place."""
        quality, culprit = self._quality, self._quality.layers[place]
        limit = quality.of_inputs(culprit) - quality.drop(culprit) / 2
        before, after = quality.layers[:place], quality.layers[place + 1 :]
        near = [*list(filter(_has_floats, before))[-_AROUND:], culprit, *list(filter(_has_floats, after))[:_AROUND]]
        steps = (
            findings.step(each, counterpart, agrees=False)
            if each is named
            else self._step(each, quality.of_output(each) >= limit)
            for each in near
        )
        return findings.of(named, counterpart, reason, tuple(steps))

    def _helped(self, helper: Layer) -> Counterpart | None:
        """What a helper's own output should be, where its place in the source tells."""
        taken = [self._found[name].tensor for name in self._taken(helper)]
        return self._counterpart(helper, list(self._following(helper, taken)))

    def _helpers(self, culprit: Layer) -> list[Layer]:
        """The layers without counterparts that lead to the culprit, where names say that they are helpers."""
        helpers: dict[str, Layer] = {}
        waiting = [culprit] if self._counterparts.named else []
        while waiting:
            for name in waiting.pop().inputs:
                maker = self._quality.makers.get(name)
                if maker is None or maker.operator == INPUT or name in helpers or name in self._found:
                    continue
                helpers[name] = maker
                waiting.append(maker)
        return list(helpers.values())

    def _taken(self, layer: Layer) -> Iterator[str]:
        """The tensors with counterparts that the layer takes, directly or moved."""
        for name in layer.inputs:
            if name in self._found:
                yield name
            elif name in self._quality.makers and only_moves(self._quality.makers[name]):
                yield from self._taken(self._quality.makers[name])

    def _following(self, culprit: Layer, taken: Sequence[str]) -> Iterator[Layer]:
        """The source's layers that work on what the culprit takes, and on nothing else that the variant has.

        As many as the culprit may stand for: those with its weights, and what comes after without any.
        """
        matched = {each.tensor for each in self._found.values() if each.likeness.snr_db >= SAME_DB}
        reached = set(taken)
        weights = 0
        for layer in self._source:
            if only_moves(layer) and reached.intersection(layer.inputs):
                reached.update(layer.outputs)
            if not layer.outputs or not reached.intersection(layer.inputs) or matched.intersection(layer.outputs):
                continue
            weights += layer.weights_bytes
            if weights > _UNFUSED * culprit.weights_bytes and layer.weights_bytes and weights > layer.weights_bytes:
                return
            if reached.issuperset(layer.inputs):
                reached.update(layer.outputs)
                yield layer

    def _counterpart(self, culprit: Layer, following: Sequence[Layer]) -> Counterpart | None:
        """What the culprit's output should be: by name, or by its place in the source."""
        named = [self._found[name] for name in culprit.outputs if self._counterparts.by_name(name)]
        if named:
            return named[0]
        best = self._best(following, culprit)
        if best is not None and best.likeness.snr_db >= ALIKE_DB:
            return best
        mentioned = [layer for layer in following if layer.name in _modules(culprit.name)]
        return self._best(sorted(mentioned, key=lambda each: -each.weights_bytes)[:1], culprit) or best

    def _nearest(self, taken: Sequence[str]) -> str | None:
        """The first source layer that works on what the culprit takes, whatever else that takes."""
        tensors = {self._found[name].tensor for name in taken}
        return next((each.name for each in self._source if each.outputs and tensors.intersection(each.inputs)), None)

    def _best(self, candidates: Sequence[Layer], culprit: Layer) -> Counterpart | None:
        """Of some source layers' outputs, the one most like the culprit's."""
        best: Counterpart | None = None
        for layer in candidates:
            for tensor, reference in layer.arrays.items():
                for array in culprit.arrays.values():
                    likeness = compare(reference, array) if reference.dtype.kind == array.dtype.kind == "f" else None
                    if likeness and (best is None or likeness.snr_db > best.likeness.snr_db):
                        best = Counterpart(layer.name, tensor, 0, likeness, by_name=False)
        return best

    def _without_activation(self, culprit: Layer, following: Sequence[Layer], before: Sequence[Layer]) -> Layer | None:
        """The layer before the culprit, when the source has an activation between them and the variant has none."""
        if not following or not _is_activation(following[0]) or _is_activation(culprit):
            return None
        size, sizes = _size(following[0]), {array.size for array in culprit.arrays.values()}
        if size in sizes and not culprit.weights_bytes:
            return None  # it may be the activation, in other words
        return next((layer for layer in before if layer.operator != INPUT and _size(layer) == size), None)

    def _step(self, layer: Layer, agrees: bool) -> Step:
        found = next((self._found[name] for name in layer.outputs if name in self._found), None)
        is_other = found is not None and agrees and found.likeness.snr_db < SAME_DB and not found.by_name
        return findings.step(layer, None if is_other else found, agrees)


def _has_floats(layer: Layer) -> bool:
    return any(array.dtype.kind == "f" for array in layer.arrays.values())


def _size(layer: Layer) -> int:
    return max((array.size for array in layer.arrays.values()), default=0)


def _is_activation(layer: Layer) -> bool:
    return not layer.weights_bytes and _ACTIVATIONS.search(layer.operator.lower().replace("_", "")) is not None


def _modules(name: str) -> set[str]:
    """The PyTorch modules that litert-torch names a tensor after, as paths: `Net/Block_layer1/…Conv2d_conv1;1`."""
    parts = name.split(";")
    return {".".join(step.rpartition(".")[2].partition("_")[2] for step in part.split("/")[1:]) for part in parts}
