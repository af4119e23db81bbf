"""Dropout before a PyTorch model's last linear layer, while it trains; the model itself stays as it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def dropout(module: Any, rate: float, seed: int) -> Iterator[None]:
    """Drop a share of what enters the last linear layer; nothing where there is none. `fit` seeds PyTorch."""
    dense = [each for each in module.modules() if isinstance(each, torch.nn.Linear)]
    if not dense or rate == 0:
        yield
        return
    hook = dense[-1].register_forward_pre_hook(
        lambda layer, inputs: (torch.nn.functional.dropout(inputs[0], rate, layer.training), *inputs[1:])
    )
    try:
        yield
    finally:
        hook.remove()
