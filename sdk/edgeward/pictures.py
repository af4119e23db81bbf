"""From a picture file to a model's input tensor, as the bundle's `preprocess` says."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from edgeward_runtimes.binding import Array
from edgeward_runtimes.errors import InputError
from edgeward_runtimes.manifest import Preprocess, Tensor

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def picture_to_input(path: Path, tensor: Tensor, preprocess: Preprocess | None) -> Array:
    """Read a picture as a batch of one.

    The picture is resized to the input's height and width, its channels converted to the input's number, and each
    value v (0 to 255) becomes (v * scale - mean) / std.

    Raises:
        InputError: When the file is no picture, or the input does not take one.
    """
    preprocess = preprocess or Preprocess()
    channels_first = preprocess.layout == "NCHW"
    height, width, channels = _picture_shape(tensor, channels_first, preprocess)
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert(_MODES[channels]).resize((width, height), Image.Resampling.BILINEAR))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError) as error:
        raise InputError(f"{path} cannot be read as a picture: {error}.") from error
    mean, std = np.asarray(preprocess.mean, np.float32), np.asarray(preprocess.std, np.float32)
    values = (pixels.reshape(height, width, channels).astype(np.float32) * np.float32(preprocess.scale) - mean) / std
    if channels_first:
        values = values.transpose(2, 0, 1)
    return np.ascontiguousarray(values[None]).astype(tensor.dtype)


def _picture_shape(tensor: Tensor, channels_first: bool, preprocess: Preprocess) -> tuple[int, int, int]:
    """Height, width and channels of the input."""
    sizes = tensor.shape[1:]
    if len(sizes) == 3:
        channels, height, width = sizes if channels_first else (sizes[2], sizes[0], sizes[1])
        if preprocess.resize is not None:
            height, width = preprocess.resize
        if height is not None and width is not None and channels in _MODES:
            return height, width, channels
    raise InputError(f"Input {tensor.name!r} of shape {tensor.shape} does not take a picture. Pass an .npy or .npz.")
