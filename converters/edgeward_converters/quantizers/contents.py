"""What an artifact's weights are stored in, and whether it may be called after a precision. Pure."""

from collections import Counter
from collections.abc import Iterable
from math import prod

from msgspec import Struct

from edgeward_runtimes.errors import ConversionError

_STORED = {
    "fp16": ("float16", "bfloat16"),
    "int8": ("int8", "uint8"),
    "int16x8": ("int8", "uint8", "int16"),  # a table whose rows go on as activations has their type
    "int4": ("int4", "uint4"),
    "mixed": ("int4", "uint4", "int8", "uint8"),
}
_WEIGHTS = {"float32", "float64", *(dtype for dtypes in _STORED.values() for dtype in dtypes)}


class Constant(Struct, frozen=True):
    """One tensor of an artifact that is fixed: its dtype as numpy names it (int4 and uint4 beside), and its shape."""

    dtype: str
    shape: tuple[int, ...]


def check(precision: str, constants: Iterable[Constant]) -> None:
    """Refuse a precision that fewer than half of the weights have.

    Weights are numbers in two axes and more; biases and scales, which stay as they are, are counted where there is
    nothing else.

    Raises:
        ConversionError: With the share.
    """
    numbers = [each for each in constants if each.dtype in _WEIGHTS]
    weights = [each for each in numbers if sum(size > 1 for size in each.shape) > 1] or numbers
    elements: Counter[str] = Counter()
    for each in weights:
        elements[each.dtype] += prod(each.shape)
    stored = sum(elements[dtype] for dtype in _STORED[precision])
    if not stored:
        raise ConversionError(f"nothing was quantized: none of its weights can be in {precision} here")
    share = stored / elements.total()
    if share < 0.5:
        raise ConversionError(f"only {share:.0%} of its weights can be in {precision} here")
