"""The one signature of a canonical SavedModel, as a function whose tensors stand in the source's order."""

from typing import Any

import tensorflow as tf

from edgeward_converters.sources import SIGNATURE, Source


def ordered(source: Source, batch: int | None) -> Any:
    """A `tf.function` of `source.inputs` to a list of `source.outputs`, for `batch` samples, None for any number."""
    loaded = tf.saved_model.load(str(source.canonical))
    specifications = [tf.TensorSpec((batch, *each.shape[1:]), each.dtype, each.name) for each in source.inputs]

    @tf.function(input_signature=specifications)  # type: ignore[untyped-decorator]
    def ordered(*tensors: Any) -> list[Any]:
        given = {each.name: value for each, value in zip(source.inputs, tensors, strict=True)}
        results = loaded.signatures[SIGNATURE](**given)  # through `loaded`: its variables die with it
        return [tf.identity(results[each.name]) for each in source.outputs]

    return ordered
