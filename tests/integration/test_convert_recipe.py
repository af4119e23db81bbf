"""`convert` with a recipe: its steps change the model, all variants are judged as the source is, all is repeatable."""

import sys
from pathlib import Path

import numpy as np
import pytest

from edgeward_converters import convert
from edgeward_converters.compress import compress
from edgeward_converters.events import Stepping
from edgeward_converters.worker import Worker
from edgeward_runtimes.errors import ConfigError
from tests.conftest import Cli

RECIPE = {
    "variants": ["litert-fp32", "litert-int8"],
    "step": [{"method": "fine_tune", "training": {"epochs": 2, "learning_rate": 1e-4}}],
}
TOML = """
variants = ["litert-fp32"]
[[step]]
method = "fine_tune"
training = { epochs = 1 }
"""
MODULE = """
import torch

def tiny():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)), (torch.zeros(1, 4),)
"""


class Labelled:
    """Labelled samples in two halves that share none."""

    def __init__(self, folder: Path) -> None:
        with np.load(folder / "evaluation.npz") as arrays:
            x, y = arrays["x"], arrays["y"]
        self.training, self.evaluation = (x[::2], y[::2]), (x[1::2], y[1::2])


@pytest.fixture(scope="module")
def labelled(digits: Path) -> Labelled:
    return Labelled(digits)


def test_a_recipe_is_judged_as_a_whole_and_the_same_seed_gives_the_same_bytes(
    digits: Path, labelled: Labelled, worker: Worker
) -> None:
    heard = []
    made = [
        convert(
            digits / "digits.keras",
            recipe=RECIPE,
            training=labelled.training,
            calibration=labelled.training[0],
            evaluation=labelled.evaluation,
            progress=heard.append,
            worker=worker,
        )
        for _ in range(2)
    ]
    first, second = (each.bundle.manifest for each in made)
    assert [variant.files for variant in first.variants] == [variant.files for variant in second.variants]
    assert [variant.id for variant in first.variants] == RECIPE["variants"]
    report = made[0].report
    assert [stage.method for stage in report.stages] == ["source", "fine_tune"]
    assert report.stages[0].metric == pytest.approx(report.source_metric)
    assert report.stages[0].parameters == report.stages[1].parameters > 0
    assert [outcome.id for outcome in report.before] == ["litert-fp32"]
    assert report.before[0].metric == pytest.approx(report.source_metric)
    assert first.metric is not None
    assert first.metric.value == report.source_metric, "the source's, not what the recipe left"
    assert first.provenance.recipe["step"][0]["method"] == "fine_tune"
    assert max(event.done for event in heard if isinstance(event, Stepping)) == 1.0
    plain = convert(digits / "digits.keras", variants=["litert-fp32"], worker=worker).bundle
    assert plain.manifest.provenance.source_sha256 == first.provenance.source_sha256
    assert plain.read("variants/litert-fp32.tflite") != made[0].bundle.read("variants/litert-fp32.tflite")


def _points(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)
    return x, (x.sum(axis=1) > 0).astype(np.int64)


def test_pytorch_goes_through_a_recipe_by_name_and_as_a_live_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny_module.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    options = {
        "recipe": {"step": [{"method": "fine_tune", "training": {"epochs": 20, "learning_rate": 0.01}}]},
        "variants": ["onnxruntime-fp32"],
        "training": _points(400, 0),
        "evaluation": _points(200, 1),
    }
    by_name = convert("tiny_module:tiny", **options).bundle.manifest.variants[0]
    assert by_name.metric is not None
    assert by_name.metric > 0.9, "half of the answers are right before"
    import tiny_module

    module, examples = tiny_module.tiny()
    before = {name: weight.clone() for name, weight in module.state_dict().items()}
    live = convert((module, examples), **options).bundle.manifest.variants[0]
    assert live.metric == by_name.metric
    assert all((weight == before[name]).all() for name, weight in module.state_dict().items()), "the user's own stays"
    sys.modules.pop("tiny_module")


def _compressed_alone(folder: Path, training: tuple[np.ndarray, np.ndarray]) -> tuple[int, list[str], bool]:
    import keras

    model = keras.models.load_model(folder / "digits.keras")
    before = [weight.copy() for weight in model.get_weights()]
    left, stages = compress(model, RECIPE, training=training)
    unchanged = all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    return left.count_params(), [stage.method for stage in stages], unchanged


def test_a_recipe_is_a_python_function_too(digits: Path, labelled: Labelled, worker: Worker) -> None:
    parameters, stages, unchanged = worker.run(_compressed_alone, digits, labelled.training)
    assert parameters > 0
    assert stages == ["source", "fine_tune"]
    assert unchanged


def test_evaluation_samples_that_were_trained_on_are_refused(digits: Path, labelled: Labelled, worker: Worker) -> None:
    with pytest.raises(ConfigError, match=r"of the \d+ evaluation samples are training samples as well"):
        convert(
            digits / "digits.keras",
            recipe=RECIPE,
            training=labelled.evaluation,
            evaluation=labelled.evaluation,
            worker=worker,
        )


@pytest.mark.parametrize("given", ["saved_model", "onnx"])
def test_a_source_that_cannot_be_trained_any_more_is_refused(
    digits: Path, labelled: Labelled, worker: Worker, tmp_path: Path, given: str
) -> None:
    path = tmp_path / ("model.onnx" if given == "onnx" else "model")
    worker.run(_export, digits / "digits.keras", path, "onnx" if given == "onnx" else "tf_saved_model")
    with pytest.raises(ConfigError, match=r"steps need a model that can still be trained, and .* is none"):
        convert(path, recipe=RECIPE, training=labelled.training, evaluation=labelled.evaluation, worker=worker)


def _export(source: Path, path: Path, kind: str) -> None:
    import keras

    model = keras.models.load_model(source)
    model(np.zeros((1, *model.inputs[0].shape[1:]), np.float32))  # the ONNX export wants it called
    model.export(path, format=kind, verbose=False)


def test_a_wrong_recipe_is_one_sentence_and_writes_nothing(cli: Cli, digits: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(TOML)
    out = tmp_path / "out.edge"
    code, stdout, stderr = cli("convert", digits / "digits.keras", "-o", out, "--recipe", recipe)
    assert (code, stdout, out.exists()) == (2, "", False)
    assert "give evaluation data (--evaluation)" in stderr
    assert "Traceback" not in stderr
