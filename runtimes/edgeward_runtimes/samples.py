"""Golden samples as a file: inputs with the source model's outputs. `golden` judges by them."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgeward_runtimes import npz
from edgeward_runtimes.errors import BundleError
from edgeward_runtimes.manifest import Manifest


class GoldenSamples:
    """Inputs by tensor name and the source model's outputs to them; the batch axis is first."""

    def __init__(self, inputs: Mapping[str, NDArray[np.generic]], outputs: Mapping[str, NDArray[np.generic]]):
        self.inputs = dict(inputs)
        self.outputs = dict(outputs)

    def encode(self) -> bytes:
        """Write as the npz of DESIGN section 5. The same arrays give the same bytes."""
        groups = (("inputs", self.inputs), ("outputs", self.outputs))
        return npz.encode({f"{kind}/{name}": array for kind, arrays in groups for name, array in arrays.items()})

    @classmethod
    def decode(cls, content: bytes, manifest: Manifest, origin: str) -> "GoldenSamples":
        """Read golden.npz. Raises BundleError when it does not hold samples of all the manifest's tensors."""
        groups: dict[str, dict[str, NDArray[np.generic]]] = {"inputs": {}, "outputs": {}}
        try:
            for key, array in npz.decode(content).items():
                kind, _, name = key.partition("/")
                groups[kind][name] = array
        except (ValueError, KeyError) as error:
            raise BundleError(f"{origin}: golden.npz cannot be read: {error}") from error
        for kind, tensors in (("inputs", manifest.inputs), ("outputs", manifest.outputs)):
            expected, found = {tensor.name for tensor in tensors}, groups[kind]
            if set(found) != expected or any(array.ndim == 0 or len(array) == 0 for array in found.values()):
                raise BundleError(
                    f"{origin}: golden.npz must hold samples of the {kind} {sorted(expected)}; "
                    f"it holds {sorted(found)}."
                )
        return cls(groups["inputs"], groups["outputs"])
