"""`model.classify` and `edgeward predict photo.jpg`: what pictures and classes are travels with the model."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image

import edgeward
from edgeward_runtimes import bundle as bundles
from edgeward_runtimes.classification import Classification
from edgeward_runtimes.errors import ConfigError, EngineError, InputError
from edgeward_runtimes.home import Home
from edgeward_runtimes.manifest import Preprocess, Tensor
from tests.builders import bundle_content
from tests.conftest import Cli

LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture
def described(digits: Path, tmp_path: Path) -> Callable[..., Path]:
    """The digits' bundle with other words about its pictures and classes, as if it had been converted so."""

    def make(**changes: object) -> Path:
        original = bundles.Bundle.open(digits / "digits.edge")
        contents = {file.path: original.read(file.path) for file in original.manifest.files()}
        manifest = msgspec.structs.replace(original.manifest, **changes)
        return bundles.write(tmp_path / f"{manifest.version}.edge", manifest, contents).path

    return make


@pytest.fixture
def digits_edge(described) -> Path:
    return described(preprocess=Preprocess(scale=1 / 255), labels=LABELS)


@pytest.fixture(scope="module")
def scans(digits: Path) -> NDArray[np.uint8]:
    """40 digits (n, 8, 8) as a scanner would give them, in whole numbers up to 255."""
    with np.load(digits / "evaluation.npz") as split:
        return np.rint(split["x"][:40, :, :, 0] * 255).astype(np.uint8)


@pytest.fixture
def scan(scans: NDArray[np.uint8], tmp_path: Path) -> Path:
    Image.fromarray(scans[0]).save(tmp_path / "scan.png")
    return tmp_path / "scan.png"


def _onnx_bundle(path: Path, inputs: dict[str, list], output: list, node: onnx.NodeProto) -> Path:
    """A bundle of one ONNX node, whose output is `y`."""
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, output)
    model = helper.make_model(
        helper.make_graph([node], "one", ports, [result]), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 9
    manifest, contents = bundle_content(artifacts={"onnxruntime-fp32": model.SerializeToString()})
    tensors = [
        Tensor(name=name, shape=tuple(size if isinstance(size, int) else None for size in shape), dtype="float32")
        for name, shape in {**inputs, "y": output}.items()
    ]
    changed = msgspec.structs.replace(manifest, inputs=tuple(tensors[:-1]), outputs=(tensors[-1],))
    return bundles.write(path, changed, contents).path


# classify


def test_a_picture_is_classified_alike_as_a_file_an_image_and_pixels(digits_edge: Path, scan: Path, scans) -> None:
    with edgeward.load(digits_edge, variant="litert-fp32") as model:
        found = model.classify(scan)
        scores = model.predict((scans[0] / np.float32(255)).astype(np.float32)[None, :, :, None])[0]
        np.testing.assert_allclose([each.score for each in found], np.sort(scores)[::-1][:5], atol=1e-5)
        assert found[0] == Classification(LABELS[scores.argmax()], int(scores.argmax()), found[0].score)
        for same in (
            str(scan),
            Image.open(scan),
            scans[0],
            scans[0][:, :, None],
            np.repeat(scans[0][:, :, None], 3, 2),
        ):
            assert model.classify(same) == found
        assert model.classify(scan, top=1) == found[:1]
        assert len(model.classify(scan, top=99)) == 10


def test_a_batch_is_one_prediction_and_a_list_for_each_picture(digits_edge: Path, scan: Path, scans) -> None:
    with edgeward.load(digits_edge, variant="onnxruntime-fp32") as model:
        found = model.classify(scans[..., None])
        assert model.latency.predictions == 1
        assert len(found) == 40
        assert found[:2] == model.classify([scan, Image.fromarray(scans[1])]) == model.classify((scans[0], scans[1]))
        assert model.classify([scan]) == [found[0]]


def test_pictures_are_told_apart_as_arrays_are_by_every_variant(digits_edge: Path, digits: Path, scans) -> None:
    with np.load(digits / "evaluation.npz") as split:
        x = split["x"][:40]
    for variant in bundles.Bundle.open(digits_edge).manifest.variants:
        with edgeward.load(digits_edge, variant=variant.id) as model:
            expected = [LABELS[index] for index in model.predict(x).argmax(axis=1)]
            found = [classes[0].label for classes in model.classify(list(scans))]
        assert sum(ours == theirs for ours, theirs in zip(found, expected, strict=True)) >= 39


def test_a_classifier_without_labels_gives_indexes(described, scan: Path) -> None:
    with edgeward.load(described(labels=None, preprocess=Preprocess(scale=1 / 255))) as model:
        assert {each.label for each in model.classify(scan)} == {None}


def test_a_device_without_pillow_classifies_pixels(digits_edge: Path) -> None:
    script = (
        "import sys; sys.modules['PIL'] = None\n"
        "import edgeward, numpy\n"
        f"model = edgeward.load({str(digits_edge)!r}, variant='litert-fp32')\n"
        "print(len(model.classify(numpy.zeros((8, 8), numpy.uint8))))\n"
        "try: model.classify('scan.png')\n"
        "except edgeward.EdgewardError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "5\nReading a picture file needs Pillow, which is not installed: pip install pillow.\n"


def test_a_picture_is_prepared_and_predicted_by_one_release(described, scan: Path) -> None:
    dark, bright = Preprocess(scale=0.0), Preprocess(scale=1 / 255)
    old = edgeward.load(described(version="1", labels=LABELS, preprocess=dark))
    new = edgeward.load(described(version="2", labels=LABELS[::-1], preprocess=bright))
    before, after = old.classify(scan), new.classify(scan)

    class Opened(os.PathLike):
        """The model moves to its new release while the picture is read."""

        def __fspath__(self) -> str:
            if old.release != new.release:
                old.move_to(new)
            return str(scan)

    assert old.classify(Opened()) == before
    assert old.classify(scan) == after != before


@pytest.mark.parametrize(
    ("image", "top", "message"),
    [
        ([], 5, "no pictures in the batch"),
        (np.zeros((0, 8, 8, 1), np.uint8), 5, "no pictures in the batch"),
        (np.zeros((8, 8), np.uint8), 0, "top is 0; expected how many"),
        (np.zeros((8, 8), np.uint8), "3", "top is '3'"),
        ([np.zeros((8, 8), np.uint8), "none.png"], 5, "none.png cannot be read"),
        (3.5, 5, "A float is no picture"),
    ],
)
def test_what_cannot_be_classified_is_said_and_not_counted(digits_edge: Path, image, top, message: str) -> None:
    with edgeward.load(digits_edge) as model:
        with pytest.raises(InputError, match=message):
            model.classify(image, top=top)
        assert (model.latency.predictions, model.latency.errors) == (0, 0)


def test_a_model_that_is_no_classifier_says_what_it_has(tmp_path: Path, described, scan: Path) -> None:
    relu, add = helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Add", ["a", "b"], ["y"])
    segmenter = _onnx_bundle(tmp_path / "segmenter.edge", {"x": ["n", 8, 8, 3]}, ["n", 8, 8, 3], relu)
    with edgeward.load(segmenter) as model, pytest.raises(InputError, match=r"output 'y' has shape \(any, 8, 8, 3\)"):
        model.classify(scan)
    two = _onnx_bundle(tmp_path / "two.edge", {"a": ["n", 4], "b": ["n", 4]}, ["n", 4], add)
    with edgeward.load(two) as model, pytest.raises(InputError, match="has 2 inputs, 'a', 'b'"):
        model.classify(scan)
    numbers = _onnx_bundle(tmp_path / "numbers.edge", {"x": ["n", 4]}, ["n", 4], relu)
    with edgeward.load(numbers) as model, pytest.raises(InputError, match=r"'x' of shape \(any, 4\) takes no picture"):
        model.classify(scan)
    with (
        edgeward.load(described(labels=LABELS[:9])) as model,
        pytest.raises(InputError, match="10 classes but 9 labels"),
    ):
        model.classify(scan)


def test_a_closed_model_classifies_no_more(digits_edge: Path, scan: Path) -> None:
    model = edgeward.load(digits_edge)
    model.close()
    with pytest.raises(EngineError, match="closed"):
        model.classify(scan)


# edgeward predict


def test_predict_shows_the_best_classes_of_a_picture(digits_edge: Path, scan: Path, cli: Cli, home: Home) -> None:
    with edgeward.load(digits_edge) as model:
        found = model.classify(scan)
    code, out, err = cli("predict", digits_edge, scan)
    assert code == 0, err
    assert [row.split()[1] for row in out.splitlines()[2:]] == [each.label for each in found]
    edgeward.flash(digits_edge, f"local:{home.root}")
    for source in (digits_edge, "digits"):  # which may run another variant, with another order of what it excludes
        with edgeward.load(source) as model:
            found = model.classify(scan)
        document = json.loads(cli("predict", source, scan, "--json")[1])
        assert [each["label"] for each in document["classes"]] == [each.label for each in found]
        assert len(next(iter(document["outputs"].values()))[0]) == 10


def test_predict_shows_the_outputs_of_a_picture_where_there_are_no_classes(
    tmp_path: Path, scan: Path, cli: Cli
) -> None:
    relu = helper.make_node("Relu", ["x"], ["y"])
    segmenter = _onnx_bundle(tmp_path / "segmenter.edge", {"x": ["n", 8, 8, 3]}, ["n", 8, 8, 3], relu)
    code, out, err = cli("predict", segmenter, scan, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert "classes" not in document
    assert np.shape(document["outputs"]["y"]) == (1, 8, 8, 3)
    assert "no preprocess" in err


# edgeward convert --preprocess --labels


def test_preprocess_and_labels_travel_from_files_to_the_prediction(
    digits: Path, scan: Path, cli: Cli, tmp_path
) -> None:
    (tmp_path / "how.toml").write_text(f"scale = {1 / 255}\ninterpolation = 'bicubic'\n")
    (tmp_path / "labels.txt").write_text("\n".join(LABELS) + "\n")
    told = ("--preprocess", tmp_path / "how.toml", "--labels", tmp_path / "labels.txt")
    out = tmp_path / "told.edge"
    code, _, err = cli("convert", digits / "digits.keras", "-o", out, "--variant", "litert-fp32", *told)
    assert code == 0, err
    manifest = json.loads(cli("inspect", out, "--json")[1])
    assert manifest["labels"] == list(LABELS)
    assert manifest["preprocess"]["interpolation"] == "bicubic"
    classes = json.loads(cli("predict", out, scan, "--json")[1])["classes"]
    assert {each["label"] for each in classes} <= set(LABELS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": LABELS[:9]}, "9 labels.* has 10 classes"),
        ({"labels": "none.txt"}, "none.txt cannot be read"),
        ({"preprocess": "none.toml"}, "no preprocess .*none.toml"),
        ({"preprocess": "torchvision"}, "takes no picture: expected NCHW"),
    ],
)
def test_what_does_not_fit_the_model_makes_no_bundle(digits: Path, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        edgeward.convert(digits / "digits.keras", variants=["litert-fp32"], **options)
