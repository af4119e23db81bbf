"""What is Pillow's: picture files, and resizing as Pillow does. Pillow is asked for when it is needed, and not before.

A picture is the path of a file, a PIL image, or pixels that are decoded already: uint8 of shape (height, width) or
(height, width, channels) with 1 (gray), 3 (red, green, blue) or 4 (and alpha) channels. Files are read as by
keras.utils.load_img and torchvision's default_loader: the first frame, palettes and CMYK to RGB, alpha dropped.
"""

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgeward_runtimes.errors import EdgewardError, InputError, one_line

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[Any]
Picture: TypeAlias = "str | os.PathLike[str] | Pixels | Image"
Box = tuple[int, int, int, int]

CHANNELS = (1, 3, 4)
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_WIDE_MODES = ("I", "F")  # Pillow cuts their values off at 255
_LUMA = np.array([19595, 38470, 7471], np.uint32)  # of red, green and blue, in 65,536ths: ITU-R 601-2 as Pillow has it


def read(picture: Picture, channels: int, upright: bool) -> "Pixels | Image":
    """The picture with so many channels: a PIL image, or pixels (height, width, channels) where pixels came.

    Raises:
        InputError: When it is no picture, damaged, of more than twice `PIL.Image.MAX_IMAGE_PIXELS`, or of more than
            8 bits a channel.
        EdgewardError: When it takes Pillow, which is not installed.
    """
    if isinstance(picture, np.ndarray):
        return _with_channels(_checked(picture), channels)
    pillow = sys.modules.get("PIL.Image")  # who passes one of its images has it
    if isinstance(picture, str | os.PathLike) or (pillow is not None and isinstance(picture, pillow.Image)):
        return _loaded(picture, channels, upright)
    raise InputError(
        f"A {type(picture).__name__} is no picture; expected a path, a PIL image, or uint8 pixels as a numpy array of "
        "shape (height, width, channels). Convert it with np.asarray(x)."
    )


def size(picture: "Pixels | Image") -> tuple[int, int]:
    """Height and width."""
    return picture.shape[:2] if isinstance(picture, np.ndarray) else (picture.height, picture.width)


def pixels(picture: "Pixels | Image") -> Pixels:
    """As uint8 (height, width, channels)."""
    array = np.asarray(picture)
    return array[:, :, None] if array.ndim == 2 else array


def resize(picture: "Pixels | Image", new: tuple[int, int], interpolation: str, box: Box) -> Pixels:
    """Resize the part at `box` (top, left, height, width) to `new` (height, width) by Pillow; uint8 pixels."""
    image_module = _pillow("Resizing with resampling 'pillow'")
    if isinstance(picture, np.ndarray):
        image: Image = image_module.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)
    else:
        image = picture
    top, left, height, width = box
    edges = (left, top, left + width, top + height)
    return pixels(image.resize((new[1], new[0]), image_module.Resampling[interpolation.upper()], box=edges))


def _loaded(picture: "str | os.PathLike[str] | Image", channels: int, upright: bool) -> "Image":
    name = os.fspath(picture) if isinstance(picture, str | os.PathLike) else "The picture"
    try:
        with _open(picture) as image:
            if image.mode.startswith(_WIDE_MODES):
                raise InputError(f"{name} has more than 8 bits a channel (Pillow: {image.mode}). Save it with 8 bits.")
            return _converted(image, _MODES[channels], upright)
    except EdgewardError:
        raise
    except Exception as error:  # a decoder raises what it likes for a damaged byte
        raise InputError(f"{name} cannot be read as a picture: {one_line(error) or type(error).__name__}.") from error


def _open(picture: "str | os.PathLike[str] | Image") -> "AbstractContextManager[Image]":
    """A file that is closed in the end, or the caller's image as it is."""
    if not isinstance(picture, str | os.PathLike):
        return nullcontext(picture)
    opened: Image = _pillow("Reading a picture file").open(picture)
    return opened


def _converted(image: "Image", mode: str, upright: bool) -> "Image":
    """In that mode and whole in memory, as its file is closed next."""
    if upright:
        from PIL import ImageOps

        image = ImageOps.exif_transpose(image)
    image.load()
    return image if image.mode == mode else image.convert(mode)


def _checked(array: Pixels) -> Pixels:
    """As (height, width, channels). Raises InputError when these are no pixels."""
    if array.dtype != np.uint8:
        raise InputError(
            f"Pixels must be uint8 from 0 to 255; {array.dtype} came. What is prepared already is for predict."
        )
    shaped = array[:, :, None] if array.ndim == 2 else array
    if shaped.ndim != 3 or shaped.shape[2] not in CHANNELS or 0 in shaped.shape:
        raise InputError(
            f"Pixels must have shape (height, width) or (height, width, channels) with {CHANNELS} channels; they have "
            f"{array.shape}. Move the channels last with x.transpose(1, 2, 0) where they are first."
        )
    return shaped


def _with_channels(array: Pixels, channels: int) -> Pixels:
    """As Pillow converts between L, RGB and RGBA."""
    given = array.shape[2]
    if given == channels:
        return array
    if channels == 1:
        luma = array[:, :, :3] @ _LUMA + np.uint32(0x8000)
        return (luma >> 16).astype(np.uint8)[:, :, None]
    color = np.repeat(array, 3, axis=2) if given == 1 else array[:, :, :3]
    return color if channels == 3 else np.concatenate([color, np.full_like(color[:, :, :1], 255)], axis=2)


def _pillow(purpose: str) -> Any:
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise EdgewardError(f"{purpose} needs Pillow, which is not installed: pip install pillow.") from error
    return Image
