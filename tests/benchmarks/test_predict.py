"""How long `predict` takes by variant, and what counting costs: `make bench` prints it, `make test` runs each once."""

from pathlib import Path

import numpy as np
import pytest

import edgeward
from edgeward_runtimes.latency.recorder import Recorder

VARIANTS = [
    f"{engine}-{precision}" for engine in ("litert", "onnxruntime", "openvino") for precision in ("fp32", "int8")
]


@pytest.mark.benchmark(group="predict one picture")
@pytest.mark.parametrize("variant", VARIANTS)
def test_predict(benchmark, digits: Path, variant: str) -> None:
    with np.load(digits / "evaluation.npz") as split:
        picture = split["x"][:1]
    with edgeward.load(digits / "digits.edge", variant=variant) as model:
        assert benchmark(model.predict, picture).shape == (1, 10)


@pytest.mark.benchmark(group="count one prediction")
@pytest.mark.parametrize("where", ["memory", "file"])
def test_count(benchmark, tmp_path: Path, where: str) -> None:
    recorder = Recorder("toy", "1.0.0", tmp_path if where == "file" else None)
    benchmark(recorder.success, 1_234_567)
    assert recorder.read()[1].count > 0
