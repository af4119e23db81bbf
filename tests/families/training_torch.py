"""The training loop that the PyTorch families share."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from tests.families.data import Array


def fit(
    model: nn.Module,
    inputs: list[Array],
    targets: list[Array],
    loss: Callable[..., torch.Tensor],
    *,
    epochs: int = 1,
    batch: int = 64,
    speed: float = 1e-3,
) -> nn.Module:
    """Train by Adam on shuffled batches and give the model back ready to answer.

    `loss` takes the model's output and then the targets' batch.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=speed)
    random = np.random.default_rng(0)
    tensors = [torch.from_numpy(array) for array in (*inputs, *targets)]
    model.train()
    for _ in range(epochs):
        order = torch.from_numpy(random.permutation(len(inputs[0])))
        for start in range(0, len(order), batch):
            chosen = [tensor[order[start : start + batch]] for tensor in tensors]
            value = loss(model(*chosen[: len(inputs)]), *chosen[len(inputs) :])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        print(f"{type(model).__name__}: loss {value.item():.4f}", flush=True)
    return model.eval()


def channels_first(pictures: Array) -> Array:
    """From (n, height, width, channels) to PyTorch's (n, channels, height, width)."""
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))
