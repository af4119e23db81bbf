"""Counting PyTorch modules by PyTorch's own counter of operations."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def parameters(module: Any) -> int:
    """The numbers in all parameters and floating-point buffers, shared ones once."""
    buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
    return sum(int(each.numel()) for each in [*module.parameters(), *buffers])


def macs(module: Any, examples: tuple[Any, ...]) -> int:
    """Multiply-accumulates for one of the examples' samples, in inference mode."""
    training = {each: each.training for each in module.modules()}
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), _nothing_fused(), counter:
            module.eval()(*examples)
    finally:
        for each, mode in training.items():
            each.training = mode
    return round(float(counter.get_total_flops()) / 2 / _samples(examples))


def _samples(examples: tuple[Any, ...]) -> int:
    return next((each.shape[0] for each in examples if isinstance(each, torch.Tensor) and each.ndim), 1)


@contextmanager
def _nothing_fused() -> Iterator[None]:
    """Attention and recurrent layers as matrix products: fused they would count as nothing."""
    mha, mkldnn = torch.backends.mha, torch.backends.mkldnn
    before = mha.get_fastpath_enabled(), mkldnn.enabled
    mha.set_fastpath_enabled(False)
    mkldnn.enabled = False
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        mha.set_fastpath_enabled(before[0])
        mkldnn.enabled = before[1]
