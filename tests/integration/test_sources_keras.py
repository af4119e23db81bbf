"""Keras models as sources: every shape of them is asked by name, and those that cannot be say what to do.

Models are made and asked in one worker, which imports TensorFlow once.
"""

from pathlib import Path

import numpy as np
import pytest

from edgeward_converters import convert, evaluate, exporters, sources
from edgeward_converters.sources.recognize import Given, recognize
from edgeward_converters.worker import Worker
from edgeward_runtimes.errors import SourceError

STRUCTURES = ("lone", "list of one", "dict of one", "list", "dict", "nested")


def _save_model(structure: str, path: Path) -> None:
    """Output `twice` is the input `left` doubled, `thrice` the input `right` tripled."""
    import keras

    left, right = keras.Input((3,), name="left"), keras.Input((2,), name="right")
    twice = keras.layers.Rescaling(2.0, name="twice")(left)
    thrice = keras.layers.Rescaling(3.0, name="thrice")(right)
    inputs, outputs = {
        "lone": (left, twice),
        "list of one": ([left], [twice]),
        "dict of one": ({"left": left}, {"a": twice}),
        "list": ([right, left], [twice, thrice]),
        "dict": ({"right": right, "left": left}, {"b": twice, "a": thrice}),
        "nested": ([right, {"left": left}], {"b": [twice], "a": thrice}),
    }[structure]
    keras.Model(inputs, outputs).save(path)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_inputs_and_outputs_in_any_structure_go_by_name(worker: Worker, tmp_path: Path, structure: str) -> None:
    path = tmp_path / "model.keras"
    worker.run(_save_model, structure, path)
    source = worker.run(sources.describe, Given("keras", path), tmp_path)
    given = {
        tensor.name: np.arange(4.0 * (tensor.shape[1] or 0), dtype=np.float32).reshape(4, -1)
        for tensor in source.inputs
    }
    answered = worker.run(sources.answers, source, given)
    np.testing.assert_array_equal(answered["twice"], given["left"] * 2)
    if "right" in given:
        np.testing.assert_array_equal(answered["thrice"], given["right"] * 3)
    artifact = worker.run(exporters.export, "litert", source, tmp_path / "model.tflite")[0]
    tensors = (source.inputs, source.outputs)
    measured = worker.run(evaluate.measure_artifact, artifact, "litert", *tensors, (given, answered), None, "cosine")
    assert all(each.max_abs_error < 1e-5 for each in measured.comparisons.values())


def _live_files(folder: Path) -> list[Path]:
    import keras

    def model(name: str) -> "keras.Model":
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)], name=name)

    return [recognize(model(name), folder).path for name in ("cats", "dogs (new)")]


def test_live_models_keep_their_own_names(worker: Worker, tmp_path: Path) -> None:
    files = worker.run(_live_files, tmp_path)
    assert [file.stem for file in files] == ["cats", "dogs--new-"]
    assert all(file.is_file() for file in files)


def _unbuilt(folder: Path) -> None:
    import keras

    recognize(keras.Sequential([keras.layers.Dense(2)], name="bare"), folder)


def _subclassed(folder: Path) -> None:
    import keras

    class Own(keras.Model):
        pass

    recognize(Own(name="own"), folder)


def _unbuilt_file(folder: Path) -> None:
    import keras

    keras.Sequential([keras.layers.Dense(2)]).save(folder / "bare.keras")
    sources.describe(Given("keras", folder / "bare.keras"), folder)


def _of_strings(folder: Path) -> None:
    import keras

    text = keras.Input((1,), dtype="string", name="text")
    keras.Model([text], keras.layers.Hashing(10)(text)).save(folder / "text.keras")
    sources.describe(Given("keras", folder / "text.keras"), folder)


def _no_model(folder: Path) -> None:
    recognize(object(), folder)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_unbuilt, "The model 'bare' is not built: call it once, or give it an Input"),
        (_unbuilt_file, r"bare\.keras is not built: call it once, or give it an Input"),
        (_subclassed, r"The model 'own' is a subclass of keras\.Model.* give it an Input by rebuilding it"),
        (_of_strings, r"text\.keras has the tensor 'text' of dtype string; expected numbers"),
        (_no_model, r"Expected a path, a keras\.Model, or \(module, example_inputs\).*; a object came"),
    ],
)
def test_a_model_that_cannot_be_converted_says_what_to_do(worker: Worker, tmp_path: Path, make, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        worker.run(make, tmp_path)


def _save_logarithm(path: Path) -> None:
    """One output full of minus infinities, and one that is finite."""
    import keras

    x = keras.Input((3,), name="x")
    logarithm = keras.ops.log(keras.layers.ReLU()(x))
    keras.Model([x], [logarithm, keras.layers.Rescaling(2.0, name="twice")(x)]).save(path)


def test_a_source_that_gives_infinities_is_converted_and_proved(worker: Worker, tmp_path: Path) -> None:
    path = tmp_path / "logarithm.keras"
    worker.run(_save_logarithm, path)
    x = np.random.default_rng(0).normal(size=(32, 3)).astype(np.float32)
    conversion = convert(path, variants=["litert-fp32", "onnxruntime-fp32"], calibration=x)
    for outcome in conversion.report.variants:
        assert outcome.drop == pytest.approx(0.0, abs=1e-6)
    assert len(conversion.bundle.manifest.variants) == 2
    assert np.isneginf(next(iter(conversion.bundle.golden().outputs.values()))).any()
