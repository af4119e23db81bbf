"""What the user trained: recognized, described, and asked for its own answers.

Today Keras 3 models: `.keras` files, `.h5` files (also those that Keras 2 wrote), and live `keras.Model` objects.
`describe` and `answers` import TensorFlow and run in the worker; what they leave behind for all exporters is a
SavedModel whose signature takes and gives the tensors under the names that the bundle's manifest will have.
"""

import hashlib
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from edgeward_runtimes.errors import SourceError, one_line
from edgeward_runtimes.manifest import Tensor

_HDF5 = b"\x89HDF\r\n\x1a\n"
_BATCH = 250


class Source(Struct, frozen=True):
    """A source model, ready for exporters.

    Attributes:
        path: The Keras file.
        saved_model: A SavedModel folder of it, signature `serving_default`, tensors named as in inputs and outputs.
        sha256: Of the Keras file.
    """

    path: Path
    saved_model: Path
    sha256: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def keras_file(given: Any, folder: Path) -> Path:
    """The Keras file of a path or of a live model, which is saved into `folder`. Raises SourceError."""
    if isinstance(given, str | Path):
        path = Path(given)
        _check(path)
        return path
    if not any(base.__name__ == "Model" and base.__module__.startswith("keras.") for base in type(given).__mro__):
        raise SourceError(f"Expected a path or a keras.Model as the source; a {type(given).__name__} came.")
    _check_inputs(given, f"The model {given.name!r}")
    path = folder / f"{usable_name(given.name)}.keras"
    try:
        given.save(path)
    except Exception as error:  # as for loading; custom layers add errors of their own
        raise SourceError(
            f"Keras cannot save the model {given.name!r}: {type(error).__name__}: {one_line(error)}"
        ) from error
    return path


def usable_name(given: str) -> str:
    """The name nearest to `given` that a model may have on a device (manifest.Name)."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", given).lstrip(".-")[:64] or "model"


def _check(path: Path) -> None:
    """Recognize the file by its content, so that what is wrong is said before TensorFlow is asked."""
    if not path.exists():
        raise SourceError(f"The source model {path} does not exist.")
    if not path.is_file():
        raise SourceError(f"The source model {path} is not a file. Pass a .keras or .h5 file.")
    with path.open("rb") as stream:
        is_hdf5 = stream.read(len(_HDF5)) == _HDF5
    if is_hdf5 or zipfile.is_zipfile(path):
        return
    raise SourceError(
        f"{path} is not a model that edgeward can read: neither a .keras file (a zip) nor an .h5 file (HDF5). "
        "Save it with model.save('model.keras')."
    )


def describe(path: Path, folder: Path) -> Source:
    """Load the model, name its tensors, and export it into `folder`. Runs in the worker; raises SourceError."""
    import tensorflow as tf
    from keras.export import ExportArchive

    model = _load(path)
    inputs, outputs = list(model.inputs), list(model.outputs)
    _check_dtypes([*inputs, *outputs], path)
    input_names = _unique([_clean(tensor.name) for tensor in inputs])
    output_names = _unique([_clean(name) for name in _output_names(model)])
    specifications = [
        tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name=name)
        for tensor, name in zip(inputs, input_names, strict=True)
    ]

    @tf.function(input_signature=specifications)  # type: ignore[untyped-decorator]
    def serve(*tensors: Any) -> dict[str, Any]:
        results = model(_structured(model, tensors), training=False)
        return dict(zip(output_names, _flat(results), strict=True))

    archive = ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", serve)
    saved_model = folder / "saved_model"
    archive.write_out(str(saved_model), verbose=False)
    return Source(
        path=path,
        saved_model=saved_model,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        inputs=tuple(map(_tensor, input_names, inputs)),
        outputs=tuple(map(_tensor, output_names, outputs)),
    )


def answers(source: Source, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The source model's own outputs, by Keras itself. Runs in the worker."""
    model = _load(source.path)
    samples = len(next(iter(inputs.values())))
    parts: list[list[NDArray[Any]]] = []
    for start in range(0, samples, _BATCH):
        tensors = [inputs[tensor.name][start : start + _BATCH] for tensor in source.inputs]
        result = model.predict_on_batch(_structured(model, tensors))
        parts.append([np.asarray(each) for each in _flat(result)])
    joined = (np.concatenate(each) for each in zip(*parts, strict=True))
    return {tensor.name: array for tensor, array in zip(source.outputs, joined, strict=True)}


def _load(path: Path) -> Any:
    import keras

    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises anything from KeyError to h5py's own errors for a damaged file
        raise SourceError(f"Keras cannot load {path}: {type(error).__name__}: {one_line(error)}") from error
    _check_inputs(model, str(path))
    return model


def _check_inputs(model: Any, named: str) -> None:
    """Refuse a model that does not know the shapes of its inputs, with what to do for its kind."""
    if getattr(model, "inputs", None):
        return
    if any(base.__name__ == "Sequential" for base in type(model).__mro__):
        raise SourceError(f"{named} is not built: call it once, or give it an Input as its first layer.")
    raise SourceError(
        f"{named} is a subclass of keras.Model, which keeps no inputs: give it an Input by rebuilding it as "
        "keras.Model(x, model.call(x)) with x = keras.Input(shape)."
    )


def _check_dtypes(tensors: list[Any], path: Path) -> None:
    """Refuse tensors that no engine's arrays can hold: strings, and number formats of TensorFlow's own."""
    for tensor in tensors:
        if not re.fullmatch(r"bool|u?int(8|16|32|64)|float(16|32|64)", str(tensor.dtype)):
            raise SourceError(
                f"{path} has the tensor {tensor.name!r} of dtype {tensor.dtype}; expected numbers that numpy has. "
                "Cut the model where its tensors are plain numbers, and convert that part."
            )


def _structured(model: Any, tensors: Any) -> Any:
    """The tensors as the model's call takes them: one alone, or in the structure of its inputs."""
    import keras

    if len(tensors) == 1:
        return tensors[0]
    return keras.tree.pack_sequence_as(getattr(model, "_inputs_struct", model.inputs), list(tensors))


def _flat(result: Any) -> list[Any]:
    """Outputs in the order of the model's own list of them."""
    import keras

    return list(keras.tree.flatten(result))


def _output_names(model: Any) -> list[str]:
    names = getattr(model, "output_names", None)
    if names and len(names) == len(model.outputs):
        return list(names)
    return [f"output_{index}" for index in range(len(model.outputs))]


def _clean(name: str) -> str:
    """A name that every format takes: no scopes, no output index."""
    return re.sub(r"[^A-Za-z0-9_]", "_", name.partition(":")[0]).strip("_") or "tensor"


def _unique(names: list[str]) -> list[str]:
    return [name if names.count(name) == 1 else f"{name}_{index}" for index, name in enumerate(names)]


def _tensor(name: str, keras_tensor: Any) -> Tensor:
    shape = (None, *(None if size is None else int(size) for size in keras_tensor.shape[1:]))
    return Tensor(name=name, shape=shape, dtype=str(keras_tensor.dtype))
