"""A fresh Keras student under the names that the model in its place had: what devices call its tensors."""

from typing import Any

import keras


def renamed(student: Any, model: Any) -> Any:
    """A copy of `student` whose inputs and outputs are called as those of `model`, as many and of the same shapes."""
    inputs = [keras.Input(tensor.shape[1:], tensor.shape[0], tensor.dtype, name=tensor.name) for tensor in model.inputs]
    names = dict(zip(_layer_names(student), _layer_names(model), strict=True))

    def clone(layer: Any) -> Any:
        config = layer.get_config()
        taken = layer.name in names.values() and layer.name not in names
        config["name"] = names.get(layer.name, f"student_{layer.name}" if taken else layer.name)
        return type(layer).from_config(config)

    student = keras.Model(student.inputs, student.outputs, name=student.name)  # also of what is Sequential
    twin = keras.models.clone_model(student, inputs, clone)
    twin.set_weights(student.get_weights())
    return twin


def _layer_names(model: Any) -> list[str]:
    """The names of the layers that give the outputs."""
    return [tensor._keras_history.operation.name for tensor in model.outputs]
