"""The models that are measured, converted by edgeward itself, and the pictures for them."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from PIL import Image

import edgeward
from edgeward_runtimes import bundle as bundles
from edgeward_runtimes.bundle import Bundle

Array = NDArray[Any]
REPOSITORY = Path(__file__).resolve().parent.parent.parent
SOAKED = "soaked"
_CALIBRATION_SAMPLES = 256


def data_folder() -> Path:
    """The folder of real data, `$EDGEWARD_TEST_DATA`, by default ../shared/data beside the repository."""
    folder = Path(os.environ.get("EDGEWARD_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "mlperf_tiny").is_dir():
        raise SystemExit(f"no data at {folder}: set EDGEWARD_TEST_DATA to the folder that holds mlperf_tiny")
    return folder


def dense(folder: Path) -> Path:
    """A bundle of two dense layers, 16 → 32 → 4: next to nothing but the call itself."""
    return edgeward.convert(_dense(seed=0), name="dense").save(folder / "dense.edge").path


def soaked(folder: Path, version: str) -> Path:
    """The same on LiteRT as a release of `SOAKED`; each version has weights of its own, so that answers differ."""
    model = _dense(seed=int(version.replace(".", "")))
    bundle = edgeward.convert(model, name=SOAKED, version=version, variants=["litert-fp32"])
    return bundle.save(folder / f"{version}.edge").path


def resnet8(folder: Path) -> Path:
    """A bundle of MLPerf Tiny's ResNet8 with all six variants; speed is measured here, so all are kept."""
    source = data_folder() / "mlperf_tiny" / "pretrainedResnet.h5"
    pictures = cifar10("cifar10_train_10k.npz")[:_CALIBRATION_SAMPLES].astype(np.float32)
    return (
        edgeward.convert(source, name="resnet8", calibration=pictures, max_drop=0.1).save(folder / "resnet8.edge").path
    )


def alone(bundle: Path, engine: str, path: Path) -> Path:
    """The bundle again, with one engine's variants alone: what a fleet of one kind of board would be sent."""
    opened = Bundle.open(bundle)
    manifest, golden = opened.manifest, opened.manifest.golden
    variants = tuple(variant for variant in manifest.variants if variant.engine == engine)
    tolerance = {variant.id: golden.tolerance[variant.id] for variant in variants}
    kept = replace(manifest, variants=variants, golden=replace(golden, tolerance=tolerance))
    return bundles.write(path, kept, {file.path: opened.read(file.path) for file in kept.files()}).path


def cifar10(name: str = "cifar10_test.npz") -> Array:
    """CIFAR-10 pictures as uint8 (n, 32, 32, 3)."""
    with np.load(data_folder() / name) as split:
        return split["x"]


def jpegs(pictures: Array, side: int) -> list[bytes]:
    """The pictures enlarged to `side` × `side` pixels, as a camera would send them."""
    return [_jpeg(picture, side) for picture in pictures]


def decode(picture: bytes) -> Array:
    """From a JPEG to ResNet8's input: decode, resize, one float batch. Pillow does it without the GIL."""
    with Image.open(io.BytesIO(picture)) as opened:
        small = opened.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
    return np.asarray(small, np.float32)[None]


def _dense(seed: int) -> Any:
    import keras

    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Input((16,)), keras.layers.Dense(32, activation="relu"), keras.layers.Dense(4)]
    return keras.Sequential(layers)


def _jpeg(picture: Array, side: int) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR).save(encoded, "JPEG", quality=90)
    return encoded.getvalue()
