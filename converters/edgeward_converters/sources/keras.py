"""Keras 3 models: `.keras` files, `.h5` files (also those that Keras 2 wrote), and live `keras.Model` objects."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from edgeward_converters.sources import SIGNATURE, Run, Source, described
from edgeward_converters.sources.recognize import Given, usable_name
from edgeward_converters.sources.tensors import check_dtype, clean_names
from edgeward_runtimes.errors import SourceError, one_line
from edgeward_runtimes.manifest import Tensor


def save(model: Any, folder: Path) -> Path:
    """Save a live model into `folder`. Raises SourceError."""
    _check_inputs(model, f"The model {model.name!r}")
    path = folder / f"{usable_name(model.name)}.keras"
    try:
        model.save(path)
    except Exception as error:  # as for loading; custom layers add errors of their own
        raise SourceError(
            f"Keras cannot save the model {model.name!r}: {type(error).__name__}: {one_line(error)}"
        ) from error
    return path


def describe(given: Given, folder: Path) -> Source:
    """Load the model and export it as a SavedModel."""
    import tensorflow as tf
    from keras.export import ExportArchive

    model = _loaded(given.path, given.path.stat().st_mtime_ns)
    inputs = _tensors(model.inputs, [tensor.name for tensor in model.inputs], given)
    outputs = _tensors(model.outputs, _output_names(model), given)
    specifications = [tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in inputs]

    @tf.function(input_signature=specifications)  # type: ignore[untyped-decorator]
    def serve(*tensors: Any) -> dict[str, Any]:
        results = _flat(model(structured(model, tensors), training=False))
        return dict(zip([tensor.name for tensor in outputs], results, strict=True))

    archive = ExportArchive()
    archive.track(model)
    archive.add_endpoint(SIGNATURE, serve)
    saved_model = folder / "saved_model"
    archive.write_out(str(saved_model), verbose=False)
    return described(given, "saved_model", saved_model, inputs, outputs)


def runner(source: Source) -> Run:
    """The model, by Keras itself."""
    model = _loaded(source.path, source.path.stat().st_mtime_ns)
    return lambda arrays: [np.asarray(each) for each in _flat(model.predict_on_batch(structured(model, arrays)))]


def load(path: Path) -> Any:
    """The model of a file, which knows its inputs. Raises SourceError."""
    import keras

    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises anything from KeyError to h5py's own errors for a damaged file
        raise SourceError(f"Keras cannot load {path}: {type(error).__name__}: {one_line(error)}") from error
    _check_inputs(model, str(path))
    return model


@lru_cache(maxsize=1)
def _loaded(path: Path, modified_ns: int) -> Any:
    """The last file's model, kept from `describe` for `answers`; nobody may change it."""
    return load(path)


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


def _tensors(keras_tensors: list[Any], names: list[str], given: Given) -> list[Tensor]:
    return [
        Tensor(
            name=name,
            shape=tuple(None if size is None else int(size) for size in tensor.shape),
            dtype=check_dtype(tensor.name, str(tensor.dtype), given.named),
        )
        for name, tensor in zip(clean_names(names), keras_tensors, strict=True)
    ]


def structured(model: Any, tensors: Any) -> Any:
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
