"""`edgeward predict`: from a file to the model's inputs, and from its outputs to something to read."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeward.cli.output import answer_json, chatter, number, table
from edgeward_runtimes import classification, npz
from edgeward_runtimes.binding import Array, Inputs
from edgeward_runtimes.classification import Classification
from edgeward_runtimes.durable import write_atomically
from edgeward_runtimes.errors import InputError
from edgeward_runtimes.loading import load
from edgeward_runtimes.model import Model

_SHOWN = 10
_TOP = 5
_TOP_OF_MANY = 3


def run(source: str, input_file: Path, *, engine: str | None, out: Path | None, json: bool) -> None:
    """Predict and show, or write, the outputs; of a picture the best classes."""
    with load(source, engine=engine) as model:
        predicted = model.predict(_read(input_file, model))
        outputs = predicted if isinstance(predicted, dict) else {model.outputs[0].name: predicted}
        classes = _classes(outputs, model) if _is_picture(input_file) else None
        chatter.print(f"{model.variant.id}: {model.variant.reason}", style="dim", soft_wrap=True)
    if out is not None:
        write_atomically(out, npz.encode(outputs))
        chatter.print(f"wrote {out}", markup=False)
    if json:
        answer_json(_document(model, outputs, classes))
    elif out is None and classes is not None:
        rows = [(str(rank), _name(each), number(each.score, 4)) for rank, each in enumerate(classes, 1)]
        table(input_file.name, ("", "class", "score"), rows)
    elif out is None:
        for name, array in outputs.items():
            _show(name, array, model.labels)


def _is_picture(path: Path) -> bool:
    return path.suffix not in (".npy", ".npz")


def _read(path: Path, model: Model) -> Inputs:
    """Read an .npy, an .npz or a picture as the model's inputs. Raises InputError."""
    if not path.is_file():
        raise InputError(f"{path} is not a file. Pass an .npy, an .npz or a picture.")
    if _is_picture(path):
        if model.preprocess is None:
            chatter.print(
                "The bundle has no preprocess: the picture's values go in as they are, 0 to 255.", style="dim"
            )
        return classification.prepare(model, [path])
    arrays = npz.read(path)
    if "x" in arrays and len(model.inputs) == 1:
        return _cast(arrays["x"], model.inputs[0].dtype)
    return {tensor.name: _cast(arrays[tensor.name], tensor.dtype) for tensor in model.inputs if tensor.name in arrays}


def _cast(array: Array, dtype: str) -> Array:
    """A file's numbers in the model's dtype: what is on disk has often been stored narrower or wider."""
    return array.astype(dtype, copy=False) if array.dtype.kind in "fiu" else array


def _classes(outputs: dict[str, Array], model: Model) -> list[Classification] | None:
    """The best classes of one picture, or None when the model is no classifier."""
    if classification.classes(model.outputs[0]) is None:
        return None
    return classification.best(outputs, model, _TOP)[0]


def _document(model: Model, outputs: dict[str, Array], classes: list[Classification] | None) -> dict[str, Any]:
    document = {"variant": model.variant.id, "outputs": {name: array.tolist() for name, array in outputs.items()}}
    return document if classes is None else {**document, "classes": classes}


def _name(each: Classification) -> str:
    return each.label if each.label is not None else f"class {each.index}"


def _show(name: str, array: npt.NDArray[np.generic], labels: tuple[str, ...] | None) -> None:
    rows = []
    for index, row in enumerate(array[:_SHOWN].reshape(min(len(array), _SHOWN), -1)):
        if array.ndim == 2 and row.size > 1:
            best = np.argsort(row)[::-1][:_TOP_OF_MANY]
            cells = [f"{labels[i] if labels else f'class {i}'} {row[i]:.3f}" for i in best]
        else:
            cells = [" ".join(f"{value:.4g}" for value in row[:8]) + (" …" if row.size > 8 else "")]
        rows.append((str(index), "  ".join(cells)))
    rest = f" (first {_SHOWN} of {len(array)})" if len(array) > _SHOWN else ""
    table(f"{name}{rest}", ("sample", "output"), rows)
