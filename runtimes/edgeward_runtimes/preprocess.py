"""From a picture to a model's input, step by step as the bundle's `Preprocess` says (see there for the steps).

On a device with numpy alone this takes decoded pixels; files, and resizing as Pillow does, need Pillow.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from edgeward_runtimes import pictures, resampling
from edgeward_runtimes.errors import InputError
from edgeward_runtimes.manifest import Preprocess, Tensor
from edgeward_runtimes.pictures import Box, Picture, Pixels

if TYPE_CHECKING:
    from PIL.Image import Image

Array = NDArray[Any]

_MOST_PIXELS = 2**26  # after a resize: a strip of 1 × 100,000 pixels by its shorter edge must not fill the memory


class Frame(Struct, frozen=True):
    """What a model's input takes: a height and a width (None: any), and channels."""

    height: int | None
    width: int | None
    channels: int


def frame(tensor: Tensor, how: Preprocess) -> Frame:
    """What the input takes, by its shape and the layout. Raises InputError when that is not a picture."""
    sizes = tensor.shape[1:]
    if len(sizes) == 3:
        channels, height, width = sizes if how.layout == "NCHW" else (sizes[2], sizes[0], sizes[1])
        if channels in pictures.CHANNELS:
            return Frame(height, width, channels)
    shape = ", ".join("any" if size is None else str(size) for size in tensor.shape)
    raise InputError(
        f"Input {tensor.name!r} of shape ({shape}) takes no picture: expected {how.layout} with 1, 3 or 4 channels."
    )


def prepare(images: Sequence[Picture], tensor: Tensor, how: Preprocess | None) -> Array:
    """Prepare pictures as one batch of the input's layout and dtype.

    Args:
        images: Paths, PIL images, or uint8 pixels (height, width, channels), each of any size.
        tensor: The model's input.
        how: The bundle's; None: values from 0 to 255 in the input's own size.

    Raises:
        InputError: When one of them is no picture, the input takes none, or their sizes differ in the end.
        EdgewardError: When it takes Pillow, which is not installed.
    """
    how = how or Preprocess()
    place = frame(tensor, how)
    gain, offset = _normalization(how, place.channels)
    prepared = [_values(_framed(picture, place, how), gain, offset, how, np.dtype(tensor.dtype)) for picture in images]
    sizes = sorted({each.shape[1:] for each in prepared})
    if len(sizes) != 1:
        raise InputError(f"One batch takes pictures of one size; after preprocessing they are {sizes}.")
    return np.concatenate(prepared) if len(prepared) > 1 else prepared[0]


def _framed(picture: Picture, place: Frame, how: Preprocess) -> Pixels:
    """Steps 1 to 5: decoded, colored, resized and cropped, as (height, width, channels)."""
    source = pictures.read(picture, 1 if how.color == "gray" else place.channels, how.upright)
    target = _target(pictures.size(source), place, how)
    shaped = pictures.pixels(source) if target is None else _resized(source, target, how)
    if how.crop is not None:
        shaped = _cropped(shaped, how.crop, how)
    if how.color == "gray" and place.channels > 1:
        shaped = np.repeat(shaped, place.channels, axis=2)
    return shaped[:, :, [2, 1, 0, 3][: place.channels]] if how.color == "bgr" and place.channels > 1 else shaped


def _target(size: tuple[int, int], place: Frame, how: Preprocess) -> tuple[int, int] | None:
    """The size to resize to, or None. Raises InputError for one that no memory holds."""
    if isinstance(how.resize, int):
        height, width = size  # torchvision's Resize(int): the longer edge is rounded down
        edge = how.resize
        target = (edge, int(edge * width / height)) if height <= width else (int(edge * height / width), edge)
    elif how.resize is not None:
        target = how.resize
    elif how.crop is None and place.height is not None and place.width is not None:
        target = (place.height, place.width)
    else:
        return None
    if min(target) < 1 or target[0] * target[1] > _MOST_PIXELS:
        raise InputError(f"A picture of {size[0]} × {size[1]} pixels would be resized to {target[0]} × {target[1]}.")
    return target


def _resized(source: "Pixels | Image", target: tuple[int, int], how: Preprocess) -> Pixels:
    """Step 3; what has the size already is left as it is."""
    if how.aspect == "pad":
        source = _padded(pictures.pixels(source), target, how.fill)
    size = pictures.size(source)
    box = _middle(size, target, how) if how.aspect == "crop" else (0, 0, *size)
    if target == size:
        return pictures.pixels(source)
    if how.resampling == "pillow":
        return pictures.resize(source, target, how.interpolation, box)
    top, left, height, width = box
    return resampling.resize(pictures.pixels(source)[top : top + height, left : left + width], target, how)


def _scaled(length: int, numerator: int, denominator: int) -> int:
    """length * numerator / denominator, rounded down after TensorFlow's float32."""
    return int(np.float32(length * numerator) / np.float32(denominator))


def _middle(size: tuple[int, int], target: tuple[int, int], how: Preprocess) -> Box:
    """The largest part in the middle with the target's aspect ratio: top, left, height, width."""
    (height, width), (new_height, new_width) = size, target
    if how.resampling == "pillow":
        fitting = (width * new_height // new_width, height * new_width // new_height)
    else:
        fitting = (_scaled(width, new_height, new_width), _scaled(height, new_width, new_height))
    part_height, part_width = max(min(height, fitting[0]), 1), max(min(width, fitting[1]), 1)
    return (height - part_height) // 2, (width - part_width) // 2, part_height, part_width


def _padded(pixels: Pixels, target: tuple[int, int], fill: int) -> Pixels:
    """Surround with `fill` to the target's aspect ratio, as Keras does: by as much on both sides."""
    (height, width), (new_height, new_width) = pixels.shape[:2], target
    above = (max(height, _scaled(width, new_height, new_width)) - height) // 2
    beside = (max(width, _scaled(height, new_width, new_height)) - width) // 2
    if (height + 2 * above) * (width + 2 * beside) > _MOST_PIXELS:
        raise InputError(f"A picture of {height} × {width} pixels cannot be padded to the shape of {target}.")
    return np.pad(pixels, ((above, above), (beside, beside), (0, 0)), constant_values=fill)


def _cropped(pixels: Pixels, crop: tuple[int, int], how: Preprocess) -> Pixels:
    """Step 4: keras.layers.CenterCrop with "tensorflow", else torchvision's CenterCrop."""
    height, width = pixels.shape[:2]
    over = (height - crop[0], width - crop[1])
    if how.resampling == "tensorflow":
        if min(over) < 0:  # what Keras calls a smart resize
            return _resized(pixels, crop, _SMART)
        top, left = over[0] // 2, over[1] // 2
        return pixels[top : top + crop[0], left : left + crop[1]]
    border = [(max(-each, 0) // 2, (max(-each, 0) + 1) // 2) for each in over]
    pixels = np.pad(pixels, (*border, (0, 0)))
    top, left = (round(max(each, 0) / 2) for each in over)
    return pixels[top : top + crop[0], left : left + crop[1]]


_SMART = Preprocess(resampling="tensorflow", aspect="crop")


def _normalization(how: Preprocess, channels: int) -> tuple[Array, Array]:
    """Step 6 as value * gain - offset, each float32 (channels,). Raises InputError."""
    mean, std = np.asarray(how.mean, np.float64), np.asarray(how.std, np.float64)
    if mean.size not in (1, channels) or std.size not in (1, channels) or not std.all():
        raise InputError(
            f"The bundle's preprocess has mean {how.mean} and std {how.std}; expected 1 or {channels} numbers each, "
            "and no std of 0. Convert the model again with such."
        )
    with np.errstate(over="ignore"):
        gain, offset = (how.scale / std).astype(np.float32), (mean / std).astype(np.float32)
    return np.broadcast_to(gain, channels), np.broadcast_to(offset, channels)


def _values(pixels: Pixels, gain: Array, offset: Array, how: Preprocess, dtype: "np.dtype[Any]") -> Array:
    """Steps 6 and 7: a batch of one."""
    height, width, channels = pixels.shape
    is_plain = bool((gain == 1).all() and (offset == 0).all())
    computed = dtype if is_plain and pixels.dtype == dtype else np.dtype(np.float32)
    is_first = how.layout == "NCHW"
    batch = np.empty((1, channels, height, width) if is_first else (1, height, width, channels), computed)
    planes = batch[0] if is_first else batch[0].transpose(2, 0, 1)
    if is_plain:
        np.copyto(planes, pixels.transpose(2, 0, 1))
    else:
        for plane, values, factor, less in zip(planes, pixels.transpose(2, 0, 1), gain, offset, strict=True):
            np.multiply(values, factor, out=plane, dtype=np.float32)
            np.subtract(plane, less, out=plane)
    if dtype.kind in "iu" and computed != dtype:
        limits = np.iinfo(dtype)
        batch = np.rint(batch, out=batch).clip(limits.min, limits.max)
    return batch.astype(dtype, copy=False)
