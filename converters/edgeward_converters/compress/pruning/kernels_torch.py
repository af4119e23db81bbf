"""PyTorch parameters that are kernels: weights of two axes or more, but for those of normalization."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgeward_converters.compress.pruning.kernels import Kernel

_NORMALIZATION = (torch.nn.LayerNorm, torch.nn.RMSNorm, torch.nn.GroupNorm, torch.nn.modules.batchnorm._NormBase)
_TRANSPOSED = torch.nn.modules.conv._ConvTransposeNd


class TorchKernel:
    """A PyTorch parameter; see `kernels.Kernel`."""

    def __init__(self, layer: str, parameter: Any, input_axis: int | None) -> None:
        self.layer = layer
        self.input_axis = input_axis
        self._parameter = parameter
        self._mask: tuple[NDArray[Any], Any] | None = None

    def read(self) -> NDArray[Any]:
        """Its values now, a copy."""
        values: NDArray[Any] = self._parameter.detach().numpy().copy()
        return values

    def write(self, values: NDArray[Any]) -> None:
        """Put these in its place."""
        with torch.no_grad():
            self._parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))

    def mask(self, mask: NDArray[Any]) -> None:
        """Multiply it by a mask."""
        if self._mask is None or self._mask[0] is not mask:
            self._mask = (mask, torch.from_numpy(mask).to(self._parameter.dtype))
        with torch.no_grad():
            self._parameter.mul_(self._mask[1])


def kernels(module: Any) -> list[Kernel]:
    """Every kernel of a module, those that layers share once."""
    seen: set[int] = set()
    found: list[Kernel] = []
    for layer, each in module.named_modules():
        for name, parameter in each.named_parameters(recurse=False):
            prunable = "weight" in name and parameter.ndim > 1 and parameter.requires_grad
            if prunable and not isinstance(each, _NORMALIZATION) and id(parameter) not in seen:
                seen.add(id(parameter))
                found.append(TorchKernel(layer or name, parameter, _input_axis(each, parameter)))
    return found


def _input_axis(layer: Any, parameter: Any) -> int | None:
    """Weights are (out, in, …), of transposed convolutions (in, out, …)."""
    if isinstance(layer, torch.nn.Embedding | torch.nn.EmbeddingBag) or parameter.shape[1] == 1:
        return None
    return 0 if isinstance(layer, _TRANSPOSED) else 1
