"""TensorFlow SavedModel folders, as `model.export` and `tf.saved_model.save` write them: one of their signatures."""

from pathlib import Path
from typing import Any

from edgeward_converters.sources import SIGNATURE, Run, Source, described
from edgeward_converters.sources.recognize import Given
from edgeward_converters.sources.tensors import Array, check_dtype, clean_names
from edgeward_runtimes.errors import SourceError, one_line
from edgeward_runtimes.manifest import Tensor


def describe(given: Given, folder: Path) -> Source:
    """Load the chosen signature and save it alone, its tensors renamed where their names need it."""
    import tensorflow as tf

    loaded, signature = _load(given)
    wanted = signature.structured_input_signature[1]
    if not wanted:
        raise SourceError(f"The signature of {given.named} has no inputs; choose another with --signature.")
    given_inputs, given_outputs = sorted(wanted), sorted(signature.structured_outputs)
    inputs = _tensors([wanted[name] for name in given_inputs], given_inputs, given)
    outputs = _tensors([signature.structured_outputs[name] for name in given_outputs], given_outputs, given)

    @tf.function(input_signature=[tf.TensorSpec(each.shape, each.dtype, name=each.name) for each in inputs])  # type: ignore[untyped-decorator]
    def serve(*tensors: Any) -> dict[str, Any]:
        results = signature(**dict(zip(given_inputs, tensors, strict=True)))
        return {each.name: tf.identity(results[name]) for each, name in zip(outputs, given_outputs, strict=True)}

    module = tf.Module()
    module.loaded = loaded  # so that its variables are saved along
    module.serve = serve
    canonical = folder / "saved_model"
    tf.saved_model.save(module, str(canonical), signatures={SIGNATURE: serve})
    return described(given, "saved_model", canonical, inputs, outputs)


def runner(source: Source) -> Run:
    """The signature, by TensorFlow itself."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(source.canonical))
    names = [tensor.name for tensor in source.inputs]

    def run(arrays: list[Array]) -> list[Array]:
        given = {name: tf.constant(array) for name, array in zip(names, arrays, strict=True)}
        results = loaded.signatures[SIGNATURE](**given)  # through `loaded`: its variables die with it
        return [results[tensor.name].numpy() for tensor in source.outputs]

    return run


def _load(given: Given) -> tuple[Any, Any]:
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(given.path))
    except Exception as error:  # anything from OSError to protobuf's own errors for a damaged folder
        raise SourceError(f"TensorFlow cannot load {given.path}: {type(error).__name__}: {one_line(error)}") from error
    names = sorted(loaded.signatures)
    chosen = given.signature or (SIGNATURE if SIGNATURE in names else names[0] if len(names) == 1 else None)
    if chosen in names:
        return loaded, loaded.signatures[chosen]
    if not names:
        raise SourceError(
            f"{given.path} has no signatures: save it with model.export(folder), or with "
            "tf.saved_model.save(model, folder, signatures=…)."
        )
    which = f"no signature {given.signature!r}" if given.signature else "several signatures and no serving_default"
    raise SourceError(f"{given.path} has {which}; name one of {', '.join(names)} with --signature.")


def _tensors(specifications: list[Any], names: list[str], given: Given) -> list[Tensor]:
    tensors = []
    for name, clean, each in zip(names, clean_names(names), specifications, strict=True):
        if each.shape.rank is None:
            raise SourceError(f"{given.named} has the tensor {name!r} of unknown rank; save it with a known one.")
        dtype = check_dtype(name, each.dtype.name, given.named)
        tensors.append(Tensor(name=clean, shape=tuple(each.shape.as_list()), dtype=dtype))
    return tensors
