"""What Keras layers compute while they are trained, changed for a time: Keras has no hooks, as PyTorch has."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def calling(layer: Any, call: Callable[..., Any]) -> Iterator[None]:
    """Have `call`, with the arguments of the layer's own, compute instead of it.

    What was traced before keeps the layer's own: `fit` traces anew. The layer keeps its weights, its name and its
    configuration. Not for the same layer twice at a time.
    """
    object.__setattr__(layer, "call", call)  # past Keras's tracking of attributes
    try:
        yield
    finally:
        object.__delattr__(layer, "call")
