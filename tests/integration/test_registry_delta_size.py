"""How much a device downloads when only a model's last layer was retrained."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from edgeward.registry import deltas
from edgeward_converters import convert
from edgeward_converters.worker import Worker
from edgeward_runtimes.bundle import Bundle

VARIANTS = ("litert-int8", "onnxruntime-fp32")


@pytest.mark.slow
def test_a_release_with_only_its_last_layer_retrained_costs_a_fraction(
    test_data: Path, worker: Worker, tmp_path: Path
) -> None:
    before = test_data / "mlperf_tiny" / "pretrainedResnet.h5"
    after = tmp_path / "retrained.h5"
    shutil.copyfile(before, after)
    with h5py.File(after, "r+") as weights:
        last = weights["model_weights/dense/dense/kernel:0"]
        last[...] += np.random.default_rng(0).normal(0, 0.05, last.shape)
    old, new = (
        _converted(before, "1.0.0", test_data, worker, tmp_path),
        _converted(after, "1.1.0", test_data, worker, tmp_path),
    )
    assert len(deltas.make(old, new)) <= 0.25 * new.path.stat().st_size


def _converted(source: Path, version: str, test_data: Path, worker: Worker, place: Path) -> Bundle:
    conversion = convert(
        source,
        name="resnet8",
        version=version,
        variants=VARIANTS,
        calibration=np.load(test_data / "cifar10_train_10k.npz")["x"][:200].astype(np.float32),
        worker=worker,
    )
    assert len(conversion.bundle.manifest.variants) == len(VARIANTS)
    return conversion.bundle.save(place / f"{version}.edge")
