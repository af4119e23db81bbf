"""Damaged sources: truncated, bit-flipped or cut in pieces, each is converted or refused in one line, and soon.

`make test` tries a few of each kind, `make fuzz` five hundred ($EDGEWARD_FUZZ_INPUTS).
"""

import os
import random
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeward_converters import Worker, convert
from edgeward_runtimes.errors import EdgewardError

_NAMES = {"keras": "model.keras", "saved_model": "saved_model", "onnx": "model.onnx", "tflite": "model.tflite"}
INPUTS = int(os.environ.get("EDGEWARD_FUZZ_INPUTS", "12"))
LONGEST_S = 60.0
VARIANT = {
    "keras": "onnxruntime-fp32",
    "saved_model": "onnxruntime-fp32",
    "onnx": "onnxruntime-fp32",
    "tflite": "litert-fp32",
}


def _save(folder: Path) -> None:
    """One small network with a convolution, in all four kinds."""
    import keras
    import tensorflow as tf
    import tf2onnx
    from keras.src.export.tf2onnx_lib import patch_tf2onnx

    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((6, 6, 1)), layers.Conv2D(2, 3, activation="relu"), layers.Flatten(), layers.Dense(3)]
    )
    model.save(folder / "model.keras")
    model.export(folder / "saved_model", verbose=False)
    content = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved_model")).convert()
    (folder / "model.tflite").write_bytes(content)
    patch_tf2onnx()
    signature = [tf.TensorSpec((None, 6, 6, 1), tf.float32, "x")]
    tf2onnx.convert.from_function(
        tf.function(model, input_signature=signature),
        signature,
        opset=17,
        output_path=str(folder / "model.onnx"),
    )


@pytest.fixture(scope="module")
def healthy(worker: Worker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("healthy")
    worker.run(_save, folder)
    return folder


def _truncated(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def _flipped(content: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def _cut_out(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    return content[:start] + content[start + chance.randrange(1, 64) :]


_DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (_flipped, _flipped, _truncated, _cut_out)


def _damage(healthy: Path, kind: str, folder: Path, seed: int) -> Path:
    chance = random.Random(seed)
    path = folder / _NAMES[kind]
    if kind == "saved_model":
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(healthy / "saved_model", path)
        file = chance.choice(sorted(each for each in path.rglob("*") if each.is_file() and each.stat().st_size))
    else:
        file = path
        shutil.copy(healthy / path.name, path)
    if kind == "keras" and seed % 2:
        _damage_member(file, chance)
    else:
        file.write_bytes(chance.choice(_DAMAGES)(file.read_bytes(), chance))
    return path


def _damage_member(path: Path, chance: random.Random) -> None:
    """Past the zip's checksums: they would catch all the rest."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = chance.choice(sorted(members))
    members[name] = chance.choice(_DAMAGES)(members[name], chance)
    with zipfile.ZipFile(path, "w") as archive:
        for each, content in members.items():
            archive.writestr(each, content)


@pytest.mark.parametrize("kind", list(VARIANT))
@pytest.mark.timeout(3600 if INPUTS > 100 else 300)
def test_a_damaged_source_is_converted_or_refused_in_one_line(
    worker: Worker, healthy: Path, tmp_path: Path, kind: str
) -> None:
    assert convert(healthy / _NAMES[kind], variants=[VARIANT[kind]], worker=worker).report.variants[0].kept
    refused = 0
    for seed in range(INPUTS):
        path = _damage(healthy, kind, tmp_path, seed)
        started = time.monotonic()
        try:
            convert(path, variants=[VARIANT[kind]], worker=worker)
        except EdgewardError as error:
            refused += 1
            message = str(error)
            assert "\n" not in message, f"seed {seed}: {message}"
            assert "Traceback" not in message, f"seed {seed}: {message}"
            assert len(message) < 1200, f"seed {seed}: {message}"
        assert time.monotonic() - started < LONGEST_S, f"seed {seed} took too long"
    assert refused > 0
    print(f"{kind}: {refused} of {INPUTS} refused, the others converted")
