"""How large a model is: the numbers it keeps, and the multiplications that one sample costs.

A multiply-accumulate (MAC) is one multiplication of a matrix product or a convolution and its addition. What engines do
element by element (biases, normalization, activations, pooling) is not counted, as usual.
"""

from msgspec import Struct

from edgeward_converters.compress.step import Trainable


class Size(Struct, frozen=True):
    """A model's size.

    Attributes:
        parameters: Weights, moving statistics and constants; what layers share counts once.
        macs: Multiply-accumulates for one sample. Layers that run several times count each time. Keras's free axes are
            taken as 224 in pictures and 128 elsewhere, PyTorch's as they are in the examples.
    """

    parameters: int
    macs: int


def count(model: Trainable) -> Size:
    """Count a live model, which is run once (PyTorch) or traced (Keras) for it and stays as it is."""
    if model.framework == "keras":
        from edgeward_converters.compress import counting_keras

        return Size(counting_keras.parameters(model.module), counting_keras.macs(model.module))
    from edgeward_converters.compress import counting_torch

    return Size(counting_torch.parameters(model.module), counting_torch.macs(model.module, tuple(model.examples or ())))
