"""Dropout before a Keras model's last dense layer, while it trains; the model itself stays as it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from edgeward_converters.compress.training.calls_keras import calling


@contextmanager
def dropout(model: Any, rate: float, seed: int) -> Iterator[None]:
    """Drop a share of what enters the last dense layer; nothing where there is none."""
    dense = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Dense)]
    if not dense or rate == 0:
        yield
        return
    generator = keras.random.SeedGenerator(seed)
    compute = dense[-1].call

    def call(inputs: Any, *arguments: Any, **options: Any) -> Any:
        return compute(keras.random.dropout(inputs, rate, seed=generator), *arguments, **options)

    with calling(dense[-1], call):
        yield
