"""What Keras and torchvision themselves make of pictures. For a worker: they bring TensorFlow and PyTorch."""

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pictures = list[NDArray[Any]]


def keras_resizing(pictures: Pictures, size: tuple[int, int], dtype: str, options: dict[str, Any]) -> Pictures:
    """keras.layers.Resizing, of pictures in `dtype`."""
    import keras

    layer = keras.layers.Resizing(*size, **options)
    return [np.asarray(layer(picture[None].astype(dtype))) for picture in pictures]


def keras_center_crop(pictures: Pictures, size: tuple[int, int]) -> Pictures:
    """keras.layers.CenterCrop."""
    import keras

    layer = keras.layers.CenterCrop(*size)
    return [np.asarray(layer(picture[None])) for picture in pictures]


def keras_pipeline(pictures: Pictures, size: tuple[int, int], mean: Any, std: Any) -> Pictures:
    """Resizing, Rescaling and Normalization, one after the other as layers of a model."""
    import keras

    model = keras.Sequential(
        [
            keras.layers.Resizing(*size),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Normalization(mean=mean, variance=np.square(std)),
        ]
    )
    return [np.asarray(model(picture[None].astype("float32"))) for picture in pictures]


def keras_applications(paths: list[Path], size: tuple[int, int], application: str, options: dict[str, Any]) -> Pictures:
    """load_img, img_to_array, and the preprocess_input of a module of keras.applications."""
    import keras

    preprocess_input = getattr(keras.applications, application).preprocess_input
    loaded = [keras.utils.load_img(path, target_size=size, **options) for path in paths]
    return [preprocess_input(keras.utils.img_to_array(image)[None]) for image in loaded]


def torchvision_pipeline(folder: Path, paths: list[Path], resize: Any, crop: Any, bicubic: bool) -> Pictures:
    """Resize, CenterCrop, ToTensor and Normalize with ImageNet's numbers, of PIL images as ImageFolder opens them."""
    transforms = _torchvision(folder, "transforms")
    loader = _torchvision(folder, "datasets.folder").default_loader
    mode = transforms.InterpolationMode.BICUBIC if bicubic else transforms.InterpolationMode.BILINEAR
    pipeline = transforms.Compose(
        [
            transforms.Resize(resize, interpolation=mode),
            transforms.CenterCrop(crop),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    return [pipeline(loader(str(path))).numpy()[None] for path in paths]


def torchvision_weights(folder: Path, paths: list[Path], weights: str) -> Pictures:
    """The transforms that come with pretrained weights, by the weights' name."""
    transform = _torchvision(folder, "models").get_weight(weights).transforms()
    loader = _torchvision(folder, "datasets.folder").default_loader
    return [transform(loader(str(path))).numpy()[None] for path in paths]


def torchvision_tensors(
    folder: Path, pictures: Pictures, size: tuple[int, int], interpolation: str, antialias: bool, is_float: bool
) -> Pictures:
    """torchvision.transforms.v2.Resize of tensors, uint8 or float32 from 0 to 255."""
    import torch

    v2 = _torchvision(folder, "transforms.v2")
    resize = v2.Resize(size, interpolation=v2.InterpolationMode(interpolation), antialias=antialias)
    tensors = [torch.from_numpy(picture.transpose(2, 0, 1)[None].copy()) for picture in pictures]
    return [resize(tensor.float() if is_float else tensor).numpy() for tensor in tensors]


def cpu_capability() -> str:
    """What PyTorch's kernels are chosen by."""
    import torch

    return torch.backends.cpu.get_cpu_capability()


def _torchvision(folder: Path, module: str) -> Any:
    """A module of the torchvision in `folder`.

    The one on PyPI looks for CUDA's operators and does not import beside a PyTorch for the CPU. Its transforms need
    none of them, so those that it misses are declared, one at a time.
    """
    import torch

    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    for _ in range(10):
        try:
            return importlib.import_module(f"torchvision.{module}")
        except RuntimeError as error:
            missing = re.search(r"operator (torchvision::\w+) does not exist", str(error))
            if missing is None:
                raise
            torch.library.define(missing[1], "(Tensor a, Tensor b, float c) -> Tensor")
    raise RuntimeError("torchvision does not import")
