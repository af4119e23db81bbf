"""PyTorch: the weights that are quantized, and activations rounded where they enter a layer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from edgeward_converters.compress.quantization_aware.shadow import Weight
from edgeward_converters.compress.step import Trainable

_MOMENTUM = 0.99
_OUTPUTS_FIRST = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
_TRANSPOSED = (torch.nn.ConvTranspose1d, torch.nn.ConvTranspose2d, torch.nn.ConvTranspose3d)


def weights(model: Trainable) -> list[Weight]:
    """The weights of linear layers, convolutions, recurrent layers and embeddings, in the module's order."""
    return [
        Weight(name, axes, _reader(parameter), _writer(parameter))
        for name, layer in model.module.named_modules()
        for parameter, axes in _channels(layer)
    ]


@contextmanager
def rounded_activations(model: Trainable, bits: int | None) -> Iterator[None]:
    """Round what enters linear layers and convolutions to `bits`, in ranges that follow what comes (Jacob et al. 2018).

    That of recurrent layers and embeddings stays as it is.
    """
    layers = [layer for layer in model.module.modules() if isinstance(layer, (*_OUTPUTS_FIRST, *_TRANSPOSED))]
    hooks = [layer.register_forward_pre_hook(_Rounding(bits)) for layer in layers] if bits is not None else []
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _channels(layer: Any) -> list[tuple[Any, tuple[int, ...]]]:
    """The layer's weights, and the axes that count their output channels; each row of a table is one."""
    if isinstance(layer, _TRANSPOSED):  # in groups, the inputs' axis counts them too, as far as groups share it
        return [(layer.weight, (1,) if layer.groups == 1 else (0, 1))]
    if isinstance(layer, (*_OUTPUTS_FIRST, torch.nn.Embedding)):
        return [(layer.weight, (0,))]
    if isinstance(layer, torch.nn.RNNBase):
        return [(each, (0,)) for name, each in layer.named_parameters() if name.startswith("weight_")]
    return []


def _reader(parameter: Any) -> Any:
    return lambda: parameter.detach().numpy().copy()


def _writer(parameter: Any) -> Any:
    def write(values: Any) -> None:
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(values))

    return write


class _Rounding:
    """Rounds a layer's first input. Its range is of no module: it goes when training ends."""

    def __init__(self, bits: int) -> None:
        self._steps = 2**bits - 1
        self._range: tuple[Any, Any] | None = None

    def __call__(self, layer: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        values = inputs[0]
        now = (values.detach().min(), values.detach().max())
        before = self._range if self._range is not None else now
        lowest, highest = (_MOMENTUM * old + (1 - _MOMENTUM) * new for old, new in zip(before, now, strict=True))
        self._range = (lowest, highest)
        return (_rounded(values, lowest.clamp(max=0), highest.clamp(min=0), self._steps), *inputs[1:])


def _rounded(values: Any, lowest: Any, highest: Any, steps: int) -> Any:
    """Clipped to the range and rounded to its steps, 0 being one of them; the gradient passes where not clipped."""
    scale = ((highest - lowest) / steps).clamp(min=1e-12)
    zero = torch.round(-lowest / scale)
    clipped = torch.minimum(torch.maximum(values, -zero * scale), (steps - zero) * scale)
    return clipped + (torch.round(clipped / scale) * scale - clipped).detach()
