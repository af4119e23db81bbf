"""A picture is prepared as Keras and torchvision prepare it: equal to 1e-5 of the range of its values.

The real libraries answer, in a worker. Pictures are noise, the hardest there is: neighbours differ by up to 255.
"""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgeward_converters.pictures import PRESETS
from edgeward_converters.worker import Worker
from edgeward_runtimes.manifest import Preprocess, Tensor
from edgeward_runtimes.preprocess import prepare
from tests import picture_references as references
from tests.environments import packages_apart

TORCHVISION = "torchvision==0.28.0"  # the one for torch 2.13
SIZES = ((1, 1), (1, 7), (5, 3), (13, 17), (64, 48), (97, 131), (240, 320), (333, 222), (480, 641))
NEW_SIZES = ((1, 1), (8, 8), (7, 13), (96, 64), (224, 224))
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@pytest.fixture(scope="module")
def torchvision() -> Path:
    """The folder that torchvision is in: apart, as other packages look whether they can import it."""
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'edgeward[torch]'")
    return packages_apart("torchvision", [TORCHVISION])


@pytest.fixture(scope="module")
def noise() -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]


@pytest.fixture(scope="module")
def files(noise: list[NDArray[np.uint8]], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The pictures as PNG and as JPEG, and some whose pixels are not simply red, green and blue."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = []
    for number, pixels in enumerate(noise):
        image = Image.fromarray(pixels)
        odd = {"L": "png", "P": "png", "1": "png", "RGBA": "png", "LA": "png", "CMYK": "jpg"}
        images = {"RGB.png": image, "RGB.jpg": image} if number % 2 else {"RGB.jpg": image}
        if number in (4, 7):
            images |= {f"{mode}.{ending}": image.convert(mode) for mode, ending in odd.items()}
        for name, each in images.items():
            paths.append(folder / f"{number}-{name}")
            each.save(paths[-1])
    return paths


def _prepared(pictures, how: Preprocess, size: tuple[int | None, int | None] = (None, None)) -> list[NDArray]:
    shape = (None, 3, *size) if how.layout == "NCHW" else (None, *size, 3)
    return [prepare([picture], Tensor(name="x", shape=shape, dtype="float32"), how) for picture in pictures]


def _assert_equal(prepared: list[NDArray], expected: list[NDArray], value_range: float) -> None:
    assert len(prepared) == len(expected) > 0
    for ours, theirs in zip(prepared, expected, strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, np.float32)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * value_range)


@pytest.mark.parametrize("aspect", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_resizing_equals_keras_layers(worker: Worker, noise, interpolation: str, antialias: bool, aspect: str) -> None:
    options = {"interpolation": interpolation, "antialias": antialias}
    aspects = {"crop_to_aspect_ratio": aspect == "crop", "pad_to_aspect_ratio": aspect == "pad", "fill_value": 114}
    for size in NEW_SIZES:
        how = Preprocess(resize=size, resampling="tensorflow", aspect=aspect, fill=114, **options)
        expected = worker.run(references.keras_resizing, noise, size, "float32", options | aspects)
        _assert_equal(_prepared(noise, how), expected, 255)


def test_resizing_of_whole_numbers_equals_keras_but_for_halves(worker: Worker, noise) -> None:
    how = Preprocess(resize=(96, 64), resampling="tensorflow", interpolation="bicubic", rounded=True)
    fractions = Preprocess(resize=(96, 64), resampling="tensorflow", interpolation="bicubic")
    expected = worker.run(references.keras_resizing, noise, (96, 64), "uint8", {"interpolation": "bicubic"})
    for ours, theirs, exact in zip(_prepared(noise, how), expected, _prepared(noise, fractions), strict=True):
        differs = ours != theirs
        np.testing.assert_allclose(exact[differs] % 1, 0.5, atol=1e-3)
        np.testing.assert_allclose(ours, theirs, atol=1)


def test_a_bilinear_resize_equals_tensorflow_to_the_bit(worker: Worker, noise) -> None:
    how = Preprocess(resize=(224, 224), resampling="tensorflow")
    expected = worker.run(references.keras_resizing, noise, (224, 224), "float32", {})
    for ours, theirs in zip(_prepared(noise, how), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("size", [(1, 1), (64, 48), (65, 47), (97, 130)])
def test_cropping_equals_keras_layers(worker: Worker, noise, size: tuple[int, int]) -> None:
    how = Preprocess(crop=size, resampling="tensorflow")
    _assert_equal(_prepared(noise, how), worker.run(references.keras_center_crop, noise, size), 255)


def test_normalizing_equals_keras_layers(worker: Worker, noise) -> None:
    how = Preprocess(resampling="tensorflow", scale=1 / 255, **IMAGENET)
    expected = worker.run(references.keras_pipeline, noise, (96, 64), IMAGENET["mean"], IMAGENET["std"])
    _assert_equal(_prepared(noise, how, (96, 64)), expected, 1)


@pytest.mark.parametrize(
    ("preset", "application", "value_range"),
    [("keras-tf", "mobilenet_v2", 1), ("keras-caffe", "resnet50", 255), ("keras-torch", "densenet", 1)],
)
def test_the_presets_equal_keras_applications(
    worker: Worker, files: list[Path], preset: str, application: str, value_range: float
) -> None:
    expected = worker.run(references.keras_applications, files, (96, 64), application, {})
    _assert_equal(_prepared(files, PRESETS[preset], (96, 64)), expected, value_range)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("aspect", ["stretch", "crop"])
def test_files_equal_load_img(worker: Worker, files: list[Path], interpolation: str, aspect: str) -> None:
    how = Preprocess(interpolation=interpolation, aspect=aspect)
    options = {"interpolation": interpolation, "keep_aspect_ratio": aspect == "crop"}
    large = [path for path in files if not path.name.startswith(("0-", "1-"))]  # of 1 pixel Keras crops 0 and fails
    expected = worker.run(references.keras_applications, large, (96, 64), "efficientnet", options)
    _assert_equal(_prepared(large, how, (96, 64)), expected, 255)


@pytest.mark.parametrize("bicubic", [False, True])
@pytest.mark.parametrize(("resize", "crop"), [(256, (224, 224)), (31, (64, 47)), ((96, 64), (33, 64))])
def test_files_equal_torchvision(
    worker: Worker, torchvision: Path, files: list[Path], resize: int | tuple[int, int], crop: tuple, bicubic: bool
) -> None:
    how = Preprocess(
        resize=resize,
        crop=crop,
        layout="NCHW",
        scale=1 / 255,
        interpolation="bicubic" if bicubic else "bilinear",
        **IMAGENET,
    )
    expected = worker.run(references.torchvision_pipeline, torchvision, files, resize, crop, bicubic)
    _assert_equal(_prepared(files, how), expected, 1)


def test_the_preset_equals_the_transforms_of_pretrained_weights(worker: Worker, torchvision: Path, files) -> None:
    expected = worker.run(references.torchvision_weights, torchvision, files, "ResNet50_Weights.IMAGENET1K_V1")
    _assert_equal(_prepared(files, PRESETS["torchvision"], (224, 224)), expected, 1)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("interpolation", ["nearest-exact", "bilinear", "bicubic"])
def test_resizing_equals_torchvision_on_float_tensors(
    worker: Worker, torchvision: Path, noise, interpolation: str, antialias: bool
) -> None:
    kind = interpolation.removesuffix("-exact")
    for size in NEW_SIZES:
        how = Preprocess(
            resize=size, resampling="torch", interpolation=kind, antialias=antialias, layout="NCHW", scale=1 / 255
        )
        expected = worker.run(
            references.torchvision_tensors, torchvision, noise, size, interpolation, antialias, is_float=True
        )
        _assert_equal(_prepared(noise, how), [each / np.float32(255) for each in expected], 1)


@pytest.mark.parametrize("interpolation", ["nearest-exact", "bilinear", "bicubic"])
def test_resizing_equals_torchvision_on_uint8_tensors(
    worker: Worker, torchvision: Path, noise, interpolation: str
) -> None:
    if worker.run(references.cpu_capability) not in ("AVX2", "AVX512"):
        pytest.skip("PyTorch resizes uint8 by kernels of its own with AVX2 alone")
    large = [pixels for pixels in noise if min(pixels.shape[:2]) > 1]  # PyTorch fails on one row or column
    for size in NEW_SIZES[1:]:
        how = Preprocess(
            resize=size, resampling="torch_uint8", interpolation=interpolation.removesuffix("-exact"), layout="NCHW"
        )
        expected = worker.run(
            references.torchvision_tensors, torchvision, large, size, interpolation, True, is_float=False
        )
        for ours, theirs in zip(_prepared(large, how), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
