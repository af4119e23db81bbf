"""PyTorch modules: where their kernels are, and Sequentials in their place."""

import copy
from collections import Counter
from typing import Any

import numpy as np
import torch
from torch import nn

from edgeward_converters.compress.factorization.forms import Stages
from edgeward_converters.compress.factorization.stages import Array, Site, Stage

_CONVOLUTIONS: dict[type[Any], int] = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}


class Factored(nn.Sequential):  # type: ignore[misc]
    """Stages in a layer's place. Who reads its weight as such gets the stages' product, so that it stays right."""

    @property
    def weight(self) -> Any:
        """In the layout of the layer that it replaces."""
        first, *rest = self
        product = _laid_out(first)
        for layer in rest:
            kernel = _laid_out(layer)
            product = product * kernel if getattr(layer, "groups", 1) > 1 else product @ kernel
        return product if isinstance(first, nn.Embedding) else product.movedim(-1, 0).movedim(-1, 1)

    @property
    def bias(self) -> Any:
        """The last stage's."""
        return self[-1].bias


def sites(module: Any) -> list[Site]:
    """The layers that can be replaced, each once, in the module's order."""
    owners = Counter(
        id(parameter) for each in module.modules() for parameter in each._parameters.values() if parameter is not None
    )
    return [
        _site(name, each) for name, each in module.named_modules() if _understood(each) and owners[id(each.weight)] == 1
    ]


def write(module: Any, kernels: dict[str, Array]) -> None:
    """Put these kernels into the module's layers, in place."""
    with torch.no_grad():
        for name, kernel in kernels.items():
            layer = module.get_submodule(name)
            laid_out = kernel if isinstance(layer, nn.Embedding) else np.moveaxis(kernel, (-1, -2), (0, 1))
            layer.weight.copy_(torch.from_numpy(np.array(laid_out)))


def replaced(module: Any, plan: dict[str, Stages]) -> Any:
    """A copy of the module with a `Factored` in the place of each of these layers, wherever it is used."""
    twin = copy.deepcopy(module)
    made = {id(twin.get_submodule(name)): _factored(twin.get_submodule(name), stages) for name, stages in plan.items()}
    for name, each in list(twin.named_modules(remove_duplicate=False)):
        if id(each) in made:
            if not name:
                return made[id(each)]
            parent, _, leaf = name.rpartition(".")
            setattr(twin.get_submodule(parent), leaf, made[id(each)])
    return twin


def _understood(layer: Any) -> bool:
    """PyTorch's own classes alone, whose weight is a parameter that nothing else touches."""
    if layer._forward_hooks or layer._forward_pre_hooks or layer._parameters.get("weight") is None:
        return False
    if type(layer) in _CONVOLUTIONS:
        return bool(layer.groups == 1)
    return type(layer) is nn.Linear or (type(layer) is nn.Embedding and layer.max_norm is None)


def _site(name: str, layer: Any) -> Site:
    kernel = _laid_out(layer).detach().cpu().numpy().copy()  # not the memory of the weight that `write` changes
    if type(layer) not in _CONVOLUTIONS:
        return Site(name, "embedding" if isinstance(layer, nn.Embedding) else "dense", kernel)
    return Site(name, "convolution", kernel, thinning=int(np.prod(layer.stride)), separable="by_axis")


def _laid_out(layer: Any) -> Any:
    """The weight with its spatial axes first: (…, in, out), of a depthwise convolution (…, 1, channels)."""
    return layer.weight if isinstance(layer, nn.Embedding) else layer.weight.movedim(0, -1).movedim(0, -2)


def _factored(layer: Any, stages: Stages) -> Any:
    *before, last = stages
    made = Factored(
        *(_stage(layer, stage, index, bias=None) for index, stage in enumerate(before)),
        _stage(layer, last, len(before), bias=layer.bias if hasattr(layer, "bias") else None),
    )
    return made.train(layer.training).requires_grad_(layer.weight.requires_grad)


def _stage(layer: Any, stage: Stage, index: int, bias: Any) -> Any:
    """One stage as a layer with its weight."""
    made: Any
    kernel = torch.from_numpy(np.array(stage.kernel)).to(layer.weight)
    if isinstance(layer, nn.Embedding) and index == 0:
        made = nn.Embedding(*kernel.shape, padding_idx=layer.padding_idx, sparse=layer.sparse, **_where(layer))
        laid_out = kernel
    elif kernel.ndim == 2 and type(layer) not in _CONVOLUTIONS:
        made = nn.Linear(*kernel.shape, bias=bias is not None, **_where(layer))
        laid_out = kernel.T
    else:
        made = _convolution(layer, stage, bias=bias is not None)
        laid_out = (kernel[..., None, :] if stage.depthwise else kernel).movedim(-1, 0).movedim(-1, 1)
    with torch.no_grad():
        made.weight.copy_(laid_out)
        if bias is not None:
            made.bias.copy_(bias)
    return made


def _convolution(layer: Any, stage: Stage, *, bias: bool) -> Any:
    """A convolution that moves along the stage's axes as the layer did, and by single steps along the others."""
    *sizes, outputs = stage.kernel.shape
    inputs = outputs if stage.depthwise else sizes.pop()

    def along(values: Any, other: int) -> Any:
        return tuple(value if axis in stage.axes else other for axis, value in enumerate(values))

    padding = layer.padding if isinstance(layer.padding, str) else along(layer.padding, 0)
    return type(layer)(
        inputs,
        outputs,
        tuple(sizes),
        stride=along(layer.stride, 1),
        padding=padding,
        dilation=along(layer.dilation, 1),
        groups=inputs if stage.depthwise else 1,
        bias=bias,
        padding_mode=layer.padding_mode if stage.axes else "zeros",
        **_where(layer),
    )


def _where(layer: Any) -> dict[str, Any]:
    return {"device": layer.weight.device, "dtype": layer.weight.dtype}
