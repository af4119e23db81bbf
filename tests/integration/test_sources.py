"""SavedModel, PyTorch, ONNX and .tflite as sources: described with their own names, asked for their own answers."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgeward_converters import convert, sources
from edgeward_converters.sources import Source
from edgeward_converters.sources.recognize import recognize
from edgeward_converters.worker import Worker
from edgeward_runtimes.errors import SourceError
from edgeward_runtimes.manifest import Tensor

X = np.arange(10, dtype=np.float32).reshape(5, 2)


def _described(worker: Worker, given: object, folder: Path, signature: str | None = None) -> Source:
    return worker.run(sources.describe, recognize(given, folder, signature), folder)


def _save_signatures(path: Path) -> None:
    """Two signatures over one variable; neither is the default."""
    import tensorflow as tf

    module = tf.Module()
    module.factor = tf.Variable(3.0)
    free, fixed = tf.TensorSpec((None, 2), tf.float32, "x/in"), tf.TensorSpec((4, 2), tf.float32, "x")
    times = tf.function(lambda x: {"times": x * module.factor, "plus": x + module.factor}, input_signature=[free])
    minus = tf.function(lambda x: {"minus": x - module.factor}, input_signature=[fixed])
    tf.saved_model.save(module, str(path), signatures={"times": times, "minus": minus})


@pytest.fixture(scope="module")
def signatures(worker: Worker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model"
    worker.run(_save_signatures, path)
    return path


def test_a_saved_model_of_several_signatures_gives_the_named_one(worker: Worker, signatures: Path, tmp_path) -> None:
    source = _described(worker, signatures, tmp_path, "times")
    assert [tensor.name for tensor in source.outputs] == ["plus", "times"]
    answered = worker.run(sources.answers, source, {source.inputs[0].name: X})
    np.testing.assert_array_equal(answered["times"], X * 3)
    np.testing.assert_array_equal(answered["plus"], X + 3)


def _save_random(path: Path) -> None:
    """Dropout as in training, which a signature of one's own easily leaves on."""
    import tensorflow as tf

    module = tf.Module()
    given = tf.TensorSpec((None, 2), tf.float32, "x")
    serve = tf.function(lambda x: {"y": tf.nn.dropout(x, 0.5)}, input_signature=[given])
    tf.saved_model.save(module, str(path), signatures=serve)


def test_a_source_that_is_random_is_refused_and_told_why(worker: Worker, tmp_path: Path) -> None:
    worker.run(_save_random, tmp_path / "model")
    with pytest.raises(SourceError, match=r"gives another 'y' each time it is asked the same: .* Export it for infer"):
        convert(tmp_path / "model", worker=worker)


def test_a_fixed_batch_is_filled_up(worker: Worker, signatures: Path, tmp_path: Path) -> None:
    source = _described(worker, signatures, tmp_path, "minus")
    assert source.batch == 4
    assert source.inputs == (Tensor(name="x", shape=(None, 2), dtype="float32"),)
    np.testing.assert_array_equal(worker.run(sources.answers, source, {"x": X})["minus"], X - 3)


@pytest.mark.parametrize("signature", [None, "divide"])
def test_a_signature_to_choose_is_asked_for(worker: Worker, signatures: Path, tmp_path: Path, signature) -> None:
    with pytest.raises(SourceError, match=r"name one of minus, times with --signature"):
        _described(worker, signatures, tmp_path, signature)


def _save_program(path: Path) -> None:
    import torch
    from torch import nn

    class Gate(nn.Module):
        def forward(self, tokens, mask, state):
            kept = tokens.float() * mask
            return {"kept": kept, "state": (state[0] + 1, state[1] * 2)}

    batch = torch.export.Dim("batch")
    free = {0: batch}
    examples = (torch.ones(2, 3, dtype=torch.int64), torch.ones(2, 3, dtype=torch.bool), (X_torch(), X_torch()))
    program = torch.export.export(Gate(), examples, dynamic_shapes=(free, free, (free, free)))
    torch.export.save(program, str(path))


def X_torch():
    import torch

    return torch.zeros(2, 2)


def test_a_program_has_the_names_of_its_arguments_and_of_what_it_returns(worker: Worker, tmp_path: Path) -> None:
    worker.run(_save_program, tmp_path / "gate.pt2")
    source = _described(worker, tmp_path / "gate.pt2", tmp_path)
    assert [(each.name, each.dtype) for each in source.inputs] == [
        ("tokens", "int64"),
        ("mask", "bool"),
        ("state_0", "float32"),
        ("state_1", "float32"),
    ]
    assert [each.name for each in source.outputs] == ["kept", "state_0", "state_1"]
    assert source.batch is None
    given = {
        "tokens": np.arange(15).reshape(5, 3),
        "mask": np.arange(15).reshape(5, 3) % 2 == 0,
        "state_0": X,
        "state_1": X,
    }
    answered = worker.run(sources.answers, source, given)
    np.testing.assert_array_equal(answered["kept"], given["tokens"] * given["mask"])
    np.testing.assert_array_equal(answered["state_0"], X + 1)
    np.testing.assert_array_equal(answered["state_1"], X * 2)


_FUNCTIONS = """
import torch
from torch import nn

def pair():
    return nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.9)).train(), torch.ones(1, 2)

def keywords():
    class Sum(nn.Module):
        def forward(self, left, right):
            return left + right
    return Sum(), {"right": torch.ones(4, 2), "left": torch.ones(4, 2)}

def alone():
    return nn.Linear(2, 3)

def broken():
    raise RuntimeError("no weights\\nanywhere")
"""


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_models.py").write_text(_FUNCTIONS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "own_models"


def test_a_function_gives_a_module_which_gets_a_free_batch(functions: str, tmp_path: Path) -> None:
    with Worker() as worker:  # its path has the module from the start, as a script's would
        source = _described(worker, f"{functions}:pair", tmp_path)
        assert source.batch is None
        answered = worker.run(sources.answers, source, {source.inputs[0].name: X})["output"]
        assert answered.shape == (5, 3)
        again = worker.run(sources.answers, source, {source.inputs[0].name: X})["output"]
        np.testing.assert_array_equal(answered, again)  # no dropout: it was exported for inference
        source = _described(worker, f"{functions}:keywords", tmp_path)
        assert [tensor.name for tensor in source.inputs] == ["right", "left"]
        with pytest.raises(SourceError, match=r"a torch\.nn\.Module alone came"):
            _described(worker, f"{functions}:alone", tmp_path)
        with pytest.raises(SourceError, match="own_models:broken cannot be used: RuntimeError: no weights anywhere"):
            _described(worker, f"{functions}:broken", tmp_path)
        with pytest.raises(SourceError, match="own_models:nothing cannot be used: AttributeError"):
            _described(worker, f"{functions}:nothing", tmp_path)


class _Trap:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_program_that_carries_a_pickle_is_refused_unread(worker: Worker, tmp_path: Path) -> None:
    import pickle

    worker.run(_save_program, tmp_path / "gate.pt2")
    sprung = tmp_path / "sprung"
    for member, message in (
        ("gate/data/constants/opaque_obj_0", "carries code of its own"),
        ("gate/data/sample_inputs/model.pt", "PyTorch cannot load"),
    ):
        path = tmp_path / f"{Path(member).stem}.pt2"
        with zipfile.ZipFile(tmp_path / "gate.pt2") as good, zipfile.ZipFile(path, "w") as bad:
            for name in good.namelist():
                if name != member:
                    bad.writestr(name, good.read(name))
            bad.writestr(member, pickle.dumps(_Trap(sprung)))
        with pytest.raises(SourceError, match=message):
            _described(worker, path, tmp_path)
    assert not sprung.exists()


def _save_onnx(path: Path, external: bool) -> None:
    """`y/out = x:0 @ w`, the names as TensorFlow's exporters write them; `w` is also listed as an input."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.eye(2, dtype=np.float32) * 3, "w")
    x = helper.make_tensor_value_info("x:0", TensorProto.FLOAT, ["N", 2])
    w = helper.make_tensor_value_info("w", TensorProto.FLOAT, [2, 2])
    y = helper.make_tensor_value_info("y/out:0", TensorProto.FLOAT, ["N", 2])
    graph = helper.make_graph([helper.make_node("MatMul", ["x:0", "w"], ["y/out:0"])], "g", [x, w], [y], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path), save_as_external_data=external, size_threshold=0, location="weights.bin")


@pytest.mark.parametrize("external", [False, True])
def test_an_onnx_file_keeps_its_tensors_under_usable_names(worker: Worker, tmp_path: Path, external: bool) -> None:
    worker.run(_save_onnx, tmp_path / "model.onnx", external)
    source = _described(worker, tmp_path / "model.onnx", tmp_path)
    assert [tensor.name for tensor in (*source.inputs, *source.outputs)] == ["x", "y_out"]
    np.testing.assert_array_equal(worker.run(sources.answers, source, {"x": X})["y_out"], X * 3)


def test_an_onnx_file_without_its_weights_names_what_is_missing(worker: Worker, tmp_path: Path) -> None:
    worker.run(_save_onnx, tmp_path / "model.onnx", True)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(SourceError, match=r"keeps its weights in another file.*Put that file beside it"):
        _described(worker, tmp_path / "model.onnx", tmp_path)


def _save_scalar(path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])
    rate = helper.make_tensor_value_info("rate", TensorProto.FLOAT, [])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])
    graph = helper.make_graph([helper.make_node("Mul", ["x", "rate"], ["y"])], "g", [x, rate], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))


def test_a_tensor_without_a_batch_axis_is_named(worker: Worker, tmp_path: Path) -> None:
    worker.run(_save_scalar, tmp_path / "scalar.onnx")
    with pytest.raises(SourceError, match="the tensor 'rate' without axes"):
        _described(worker, tmp_path / "scalar.onnx", tmp_path)
