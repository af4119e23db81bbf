"""How good each tensor of a variant is, in decibels. Pure; `departure` has the rules and what follows from them."""

from collections.abc import Collection, Sequence

from edgeward_converters.layers.counterparts import Counterparts
from edgeward_converters.layers.likeness import is_telling
from edgeward_converters.layers.tracing import INPUT, OUTPUT, Layer, only_moves


class Quality:
    """The layers that lead to some tensors, and the quality of all tensors between them."""

    def __init__(
        self, variant: Sequence[Layer], counterparts: Counterparts, tensors: Collection[str], cap_db: float
    ) -> None:
        self.layers = _leading_to(tensors, variant)
        self.makers = {name: layer for layer in self.layers for name in layer.outputs}
        self._cap_db = cap_db
        self._counterparts = counterparts
        self._tells = {
            name: array.dtype.kind == "f" or name in counterparts.found
            for layer in variant
            for name, array in layer.arrays.items()
        }
        self._sizes = {name: array.size for layer in variant for name, array in layer.arrays.items()}
        self._used = {name for layer in self.layers for name in layer.inputs} | set(tensors)
        self._db = self._recovered()
        self._pass_on()

    def maker(self, tensor: str) -> Layer:
        """The layer that computed the tensor's numbers, before they were moved about."""
        layer = self.makers[tensor]
        while only_moves(layer) and layer.inputs and layer.inputs[0] in self.makers:
            layer = self.makers[layer.inputs[0]]
        return layer

    def of_inputs(self, layer: Layer) -> float:
        """The worst quality among what the layer takes."""
        return min((self._db.get(name, self._cap_db) for name in layer.inputs), default=self._cap_db)

    def of_output(self, layer: Layer) -> float:
        """The worst quality among what the layer gives, as far as it leads anywhere."""
        used = (self._db[name] for name in layer.outputs if name in self._db and name in self._used)
        return min(used, default=self.of_inputs(layer))

    def drop(self, layer: Layer) -> float:
        """How much worse the layer's output is than its inputs."""
        return self.of_inputs(layer) - self.of_output(layer)

    def _recovered(self) -> dict[str, float]:
        """Each tensor's own quality, or that of what is made of it, if that is better."""
        users: dict[str, list[Layer]] = {}
        for layer in self.layers:
            for name in layer.inputs:
                users.setdefault(name, []).append(layer)
        db: dict[str, float] = {}
        for layer in reversed(self.layers):
            for name in filter(self._tells.get, layer.outputs):
                db[name] = max(self._own(layer, name), self._rescue(name, users.get(name, ()), db))
        return db

    def _rescue(self, tensor: str, users: Sequence[Layer], db: dict[str, float]) -> float:
        """What the tensor's uses say of it.

        One use may hide a fault (a ReLU that is zero there), so where there is a counterpart, all uses must be good.
        And a use that gives what the source has before that counterpart says nothing. Without a counterpart one good
        use is enough; a use of a part speaks for that part.
        """
        found, later = self._counterparts.found.get(tensor), self._counterparts.found
        made = [(user, out) for user in users for out in user.outputs if out in db]
        if found is not None:
            place = found.place
            return min((0.0 if out in later and later[out].place < place else db[out] for _, out in made), default=0.0)
        parts = [out for user, out in made if only_moves(user) and self._sizes[out] < self._sizes[tensor]]
        whole = max((db[out] for _, out in made if out not in parts), default=0.0)
        return max(whole, min((db[out] for out in parts), default=0.0))

    def _own(self, layer: Layer, name: str) -> float:
        if layer.operator == INPUT:
            return self._cap_db
        found = self._counterparts.found.get(name)
        return 0.0 if found is None else min(max(found.likeness.snr_db, 0.0), self._cap_db)

    def _pass_on(self) -> None:
        """Helpers' tensors, integers, and numbers that were only moved are as good as what they are made from."""
        for layer in self.layers:
            for name in layer.outputs:
                is_helper = self._counterparts.named or not self._tells.get(name) or only_moves(layer)
                if (
                    (is_helper or self._only_fills(layer))
                    and layer.operator != INPUT
                    and name not in self._counterparts.found
                ):
                    self._db[name] = max(self._db.get(name, 0.0), self.of_inputs(layer))

    def _only_fills(self, layer: Layer) -> bool:
        """Whether the layer makes one constant of others or of a shape, as for a recurrent layer's first state."""
        taken = (self.makers[name].arrays.get(name) for name in layer.inputs if name in self.makers)
        arrays = [*layer.arrays.values(), *(array for array in taken if array is not None)]
        return bool(layer.arrays) and not any(map(is_telling, arrays))


def _leading_to(tensors: Collection[str], variant: Sequence[Layer]) -> list[Layer]:
    wanted = set(tensors)
    leading = []
    for layer in reversed(variant):
        if layer.operator != OUTPUT and wanted.intersection(layer.outputs):
            wanted.update(layer.inputs)
            leading.append(layer)
    return leading[::-1]
