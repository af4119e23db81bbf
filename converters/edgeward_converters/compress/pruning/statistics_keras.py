"""Moving statistics of Keras's batch normalization, which are of the whole model and must come to be of the pruned one.

Keras's usual momentum of 0.99 takes hundreds of batches to forget; a short fine-tuning would end with statistics of
channels that are gone, and answer nonsense in inference.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

# How often over the statistics are replaced in one training: exp(-8) of the old ones is left.
_REPLACED = 8


@contextmanager
def renewed_within(model: Any, batches: int) -> Iterator[None]:
    """While this lasts, statistics forget fast enough for so many batches; never slower than they did."""
    layers = [each for each in model._flatten_layers() if isinstance(each, keras.layers.BatchNormalization)]
    before = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = min(layer.momentum, max(1 - _REPLACED / batches, 0.0))
    try:
        yield
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum
