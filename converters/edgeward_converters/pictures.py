"""What travels with a model of pictures: `preprocess` and `labels`, as `convert` is given them, checked against it.

A preprocess is a `Preprocess`, one of `PRESETS` by name, or a TOML file with the keys of `Preprocess`:

    resize = 256            # or [224, 224]
    crop = [224, 224]
    layout = "NCHW"
    scale = 0.00392156862745098
    mean = [0.485, 0.456, 0.406]
    std = [0.229, 0.224, 0.225]
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edgeward_runtimes import classification
from edgeward_runtimes.errors import ConfigError, InputError
from edgeward_runtimes.manifest import Preprocess, Tensor
from edgeward_runtimes.preprocess import frame

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# keras.applications' preprocess_input in its three modes, after load_img(target_size=…) and img_to_array; and
# torchvision.transforms._presets.ImageClassification, of a PIL picture, with the sizes that most of its weights have.
PRESETS = {
    "keras-tf": Preprocess(interpolation="nearest", scale=1 / 127.5, mean=(1.0,)),
    "keras-caffe": Preprocess(interpolation="nearest", color="bgr", mean=(103.939, 116.779, 123.68)),
    "keras-torch": Preprocess(interpolation="nearest", scale=1 / 255, mean=_IMAGENET_MEAN, std=_IMAGENET_STD),
    "torchvision": Preprocess(
        resize=256, crop=(224, 224), layout="NCHW", scale=1 / 255, mean=_IMAGENET_MEAN, std=_IMAGENET_STD
    ),
}


def preprocess(given: "Preprocess | str | os.PathLike[str]") -> Preprocess:
    """The preprocess as it goes into the manifest. Raises ConfigError when it is none."""
    how = _valid(given) if isinstance(given, Preprocess) else PRESETS.get(str(given)) or _read(Path(given))
    if not all(math.isfinite(number) for number in (how.scale, *how.mean, *how.std)) or 0 in how.std:
        raise ConfigError("preprocess (--preprocess) needs finite numbers for scale, mean and std, and no std of 0.")
    if isinstance(how.resize, int) and how.resize < 1:
        raise ConfigError(f"preprocess (--preprocess) has resize {how.resize}; expected at least 1 pixel.")
    if isinstance(how.resize, int) and how.aspect != "stretch":
        raise ConfigError(
            f"preprocess (--preprocess) has aspect {how.aspect!r}, which needs a resize to [height, width]; "
            f"{how.resize} keeps the aspect as it is."
        )
    return how


def labels(given: "Sequence[str] | str | os.PathLike[str]") -> tuple[str, ...]:
    """Class names by index, from a sequence or a text file with one a line. Raises ConfigError."""
    names = _lines(Path(given)) if isinstance(given, str | os.PathLike) else tuple(given)
    if not names or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"labels (--labels) are class names as text, one per class; they are {names[:3]} ….")
    return names


def check_preprocess(how: Preprocess, inputs: tuple[Tensor, ...]) -> None:
    """Raises ConfigError when the model's input takes no such picture."""
    if len(inputs) != 1:
        raise ConfigError(f"preprocess (--preprocess) is for a model with one input; this one has {len(inputs)}.")
    try:
        takes = frame(inputs[0], how)
    except InputError as error:
        raise ConfigError(f"preprocess (--preprocess) does not fit the model. {error}") from error
    for name, values in (("mean", how.mean), ("std", how.std)):
        if len(values) not in (1, takes.channels):
            raise ConfigError(
                f"preprocess (--preprocess) has {len(values)} numbers for {name}; the model takes {takes.channels} "
                f"channels: give 1 or {takes.channels}."
            )
    made, taken = how.crop or how.resize, (takes.height, takes.width)
    if isinstance(made, tuple) and any(own not in (None, size) for own, size in zip(taken, made, strict=True)):
        raise ConfigError(
            f"preprocess (--preprocess) makes pictures of (height, width) {made}; the model takes {taken}."
        )


def check_labels(names: tuple[str, ...], outputs: tuple[Tensor, ...]) -> None:
    """Raises ConfigError when the first output is a classifier's and has another number of classes."""
    count = classification.classes(outputs[0])
    if count is not None and not classification.fits(names, count):
        raise ConfigError(
            f"There are {len(names)} labels (--labels), but the output {outputs[0].name!r} has {count} classes. "
            "Give one per class, or two for the one output of a sigmoid."
        )


def _read(path: Path) -> Preprocess:
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Preprocess)
    except OSError as error:
        raise ConfigError(
            f"There is no preprocess (--preprocess) {path}: {error.strerror or error}. Pass a TOML file, or one of "
            f"{', '.join(PRESETS)}."
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a preprocess: {error}.") from error


def _valid(given: Preprocess) -> Preprocess:
    """Held to the types that a file is held to."""
    try:
        return msgspec.convert(msgspec.to_builtins(given), Preprocess)
    except (msgspec.ValidationError, TypeError) as error:
        raise ConfigError(f"The preprocess is not one: {error}.") from error


def _lines(path: Path) -> tuple[str, ...]:
    """A file's lines without the space around them; empty ones at the end do not count."""
    try:
        text = path.read_text(encoding="utf-8-sig").rstrip()
        return tuple(line.strip() for line in text.split("\n")) if text else ()
    except OSError as error:
        raise ConfigError(f"The labels {path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"The labels {path} are no text in UTF-8: {error}.") from error
