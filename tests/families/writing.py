"""Train a family's models and write them as users have them, with answers of their own framework; runs in a worker.

What was written is taken again while it is newer than the code of this package.
"""

import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from edgeward_runtimes import npz
from tests.families import Family, SourceKind, for_torch
from tests.families.data import Array, Arrays

_SEED = 0
_ANSWERS = "answers.npz"


class Made(Struct, frozen=True):
    """A source: its file or folder, samples by input name, and its own answers to them by output name."""

    path: Path
    inputs: Arrays
    answers: Arrays


def write(family: Family, source: SourceKind, folder: Path) -> Made:
    """Give the family's source of that kind, trained and written into `folder` when it is not there yet."""
    place = folder / family.name / source
    kept = place / _ANSWERS
    if not _is_fresh(kept):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        made = _WRITERS[source](family, place, folder)
        _keep(made, kept)
    return _kept(kept)


def _is_fresh(path: Path) -> bool:
    code = max(module.stat().st_mtime for module in Path(__file__).parent.glob("*.py"))
    return path.exists() and path.stat().st_mtime > code


def _keep(made: Made, path: Path) -> None:
    inputs = {f"input {name}": array for name, array in made.inputs.items()}
    answers = {f"output {name}": array for name, array in made.answers.items()}
    path.write_bytes(npz.encode({**inputs, **answers, "path": np.asarray(made.path.name)}))


def _kept(path: Path) -> Made:
    arrays = npz.decode(path.read_bytes())
    inputs, answers = (
        {key.removeprefix(kind): array for key, array in arrays.items() if key.startswith(kind)}
        for kind in ("input ", "output ")
    )
    return Made(path.parent / str(arrays["path"]), inputs, answers)


def _write_keras(family: Family, place: Path, folder: Path) -> Made:
    model, path, inputs = _trained_keras(family, folder), place / f"{family.name}.keras", family.samples()
    model.save(path)
    return Made(path, inputs, _keras_answers(model, inputs))


def _write_saved_model(family: Family, place: Path, folder: Path) -> Made:
    """A SavedModel calls outputs by their keys, `output_0` and so on where there are none, or as its signature does."""
    import keras
    import tensorflow as tf

    model, path, inputs = _trained_keras(family, folder), place / family.name, family.samples()
    answers = _keras_answers(model, inputs)
    if not family.signature:
        model.export(path, verbose=False)
        is_dict = isinstance(model.output, dict)
        names = list(answers) if is_dict else [f"output_{index}" for index in range(len(answers))]
        return Made(path, inputs, dict(zip(names, answers.values(), strict=True)))

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec(each.shape, each.dtype, name=each.name) for each in model.inputs]
    )
    def serve(*tensors: Any) -> dict[str, Any]:
        results = keras.tree.flatten(model(list(tensors), training=False))
        return dict(zip(family.signature, results, strict=True))

    module = tf.Module()
    module.kept = [variable.value for variable in model.variables]  # those of random layers are hidden in the model
    tf.saved_model.save(module, str(path), signatures={"serving_default": serve})
    return Made(path, inputs, dict(zip(family.signature, answers.values(), strict=True)))


def _write_torch(family: Family, place: Path, folder: Path) -> Made:
    """A program names dict outputs by their keys; others have no names, and edgeward calls them by their place."""
    import torch

    model, path, inputs = _trained_torch(family, folder), place / f"{family.name}.pt2", for_torch(family.samples())
    batch = family.torch_batch or 2  # torch.export takes an axis of one for a constant
    examples = tuple(torch.from_numpy(array[:batch]) for array in inputs.values())
    free = None if family.torch_batch else tuple({0: torch.export.Dim("batch")} for _ in inputs)
    torch.export.save(torch.export.export(model, examples, dynamic_shapes=free), path)
    return Made(path, inputs, _torch_answers(model, inputs))


def _write_onnx(family: Family, place: Path, folder: Path) -> Made:
    path = place / f"{family.name}.onnx"
    inputs, outputs = _ONNX_WRITERS[family.onnx_from](family, path, folder)
    return Made(path, inputs, _onnx_answers(path, inputs, outputs))


def _onnx_from_keras(family: Family, path: Path, folder: Path) -> tuple[Arrays, list[Array]]:
    model, inputs = _trained_keras(family, folder), family.samples()
    answers = _keras_answers(model, inputs)
    model.export(path, format="onnx", verbose=False)
    return inputs, list(answers.values())


def _onnx_from_torch(family: Family, path: Path, folder: Path) -> tuple[Arrays, list[Array]]:
    import torch

    model, inputs = _trained_torch(family, folder), for_torch(family.samples())
    examples = tuple(torch.from_numpy(array[:2]) for array in inputs.values())
    answers = _torch_answers(model, inputs)
    torch.onnx.export(
        model,
        examples,
        path,
        dynamo=True,
        external_data=False,
        input_names=list(inputs),
        output_names=list(answers),
        dynamic_shapes=tuple({0: torch.export.Dim("batch")} for _ in inputs),
        verbose=False,
    )
    return inputs, list(answers.values())


def _onnx_answers(path: Path, inputs: Arrays, trained: list[Array]) -> Arrays:
    """What onnxruntime says, which must be what the trained model says: else it is the export that went wrong.

    tf2onnx calls outputs as TensorFlow does, `Identity:0`; the output's index is no part of the name for edgeward.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    answers = session.run(
        names, dict(zip([given.name for given in session.get_inputs()], inputs.values(), strict=True))
    )
    for answer, expected in zip(answers, trained, strict=True):
        np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-4 * float(np.abs(expected).max()))
    return {name.partition(":")[0]: answer for name, answer in zip(names, answers, strict=True)}


def _trained_keras(family: Family, folder: Path) -> Any:
    import keras

    path = folder / family.name / "trained.keras"
    if not _is_fresh(path):
        keras.utils.set_random_seed(_SEED)
        builder = getattr(import_module(f"{__package__}.{family.keras}"), family.name)
        model = builder()
        path.parent.mkdir(parents=True, exist_ok=True)
        model.save(path)
    return keras.models.load_model(path, compile=False)


def _trained_torch(family: Family, folder: Path) -> Any:
    import torch

    torch.set_num_threads(1)  # threads that wait for a busy processor cost more than they give
    path = folder / family.name / "trained.pt"
    if not _is_fresh(path):
        torch.manual_seed(_SEED)
        builder = getattr(import_module(f"{__package__}.{family.torch}"), family.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(builder(), path)
    return torch.load(path, weights_only=False)


def _keras_answers(model: Any, inputs: Arrays) -> Arrays:
    """By output name; a name that several outputs share gets their places."""
    import keras

    given = [inputs[tensor.name] for tensor in model.inputs]
    answers = keras.tree.flatten(model.predict(given if len(given) > 1 else given[0], verbose=0))
    shared = model.output_names
    names = [name if shared.count(name) == 1 else f"{name}_{place}" for place, name in enumerate(shared)]
    return dict(zip(names, answers, strict=True))


def _torch_answers(model: Any, inputs: Arrays) -> Arrays:
    import torch

    with torch.no_grad():
        result = model(*(torch.from_numpy(array) for array in inputs.values()))
    if isinstance(result, dict):
        return {name: tensor.numpy() for name, tensor in result.items()}
    if isinstance(result, tuple):
        return {f"output_{place}": tensor.numpy() for place, tensor in enumerate(result)}
    return {"output": result.numpy()}


_WRITERS: dict[SourceKind, Callable[[Family, Path, Path], Made]] = {
    "keras": _write_keras,
    "saved_model": _write_saved_model,
    "torch": _write_torch,
    "onnx": _write_onnx,
}
_ONNX_WRITERS: dict[str, Callable[[Family, Path, Path], tuple[Arrays, list[Array]]]] = {
    "keras": _onnx_from_keras,
    "torch": _onnx_from_torch,
}
