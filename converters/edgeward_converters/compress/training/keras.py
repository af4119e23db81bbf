"""The loop for Keras models on TensorFlow: one compiled function per call, fed with batches from numpy.

TensorFlow's operators are told to be deterministic meanwhile, and the generators of Dropout and its like are seeded.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.framework import config as _tensorflow_config

from edgeward_converters.compress.step import Samples, Trainable
from edgeward_converters.compress.training import Hooks, Loss, Training, batches, check_loss, check_trainable, losses
from edgeward_converters.compress.training.throttle import throttled
from edgeward_converters.data import Arrays
from edgeward_converters.sources.keras import structured

_PROBED = 64


def fit(
    model: Trainable,
    samples: Samples,
    training: Training,
    seed: int,
    progress: Callable[[float], None],
    loss: Loss | None,
    teacher: Trainable | None,
    hooks: Hooks,
) -> None:
    """See `training.fit`."""
    inputs = batches.ordered(samples.inputs, input_names(model))
    batches.check_pictures(inputs, training.augmentation)
    kind, y = _kind_and_targets(model, samples, needed=loss is None)
    chosen_loss = loss if loss is not None else _loss_of(kind)
    total = batches.count(len(inputs[0]), training.batch_size, training.epochs)
    with _deterministic(model.module, seed):
        step = _step(model.module, training, total, chosen_loss, teacher.module if teacher is not None else None)
        tell = throttled(progress)
        generator = np.random.default_rng([seed, 1])
        for index, chosen in enumerate(batches.indices(len(inputs[0]), training.batch_size, total, seed)):
            if hooks.before_batch is not None:
                hooks.before_batch(index, total)
            batch = [
                batches.augmented(array[chosen], training.augmentation, generator, channels_first=False)
                for array in inputs
            ]
            batch = batch if hooks.change_inputs is None else hooks.change_inputs(batch)
            check_loss(float(step(_tensors(model, batch), None if y is None else tf.constant(y[chosen]))), index)
            if hooks.after_batch is not None:
                hooks.after_batch(index, total)
            tell((index + 1) / total)


def predict(model: Trainable, inputs: Arrays, batch_size: int) -> list[NDArray[Any]]:
    """See `training.predict`."""
    arrays = batches.ordered(inputs, input_names(model))

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def run(batch: list[Any]) -> list[Any]:
        return _flat(model.module(structured(model.module, batch), training=False))

    parts = [
        [output.numpy() for output in run(_tensors(model, [array[start : start + batch_size] for array in arrays]))]
        for start in range(0, len(arrays[0]), batch_size)
    ]
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def input_names(model: Trainable) -> list[str]:
    """The names of the model's inputs in its order."""
    return [tensor.name for tensor in model.module.inputs]


def _kind_and_targets(model: Trainable, samples: Samples, *, needed: bool) -> tuple[losses.Kind, NDArray[Any] | None]:
    """What loss outputs and labels call for, and the labels as losses take them; none need be there for one's own."""
    if samples.y is None and not needed:
        return "mean_squared_error", None
    y = losses.labels(samples.y)
    outputs = predict(model, {name: array[:_PROBED] for name, array in samples.inputs.items()}, _PROBED)[0]
    kind = losses.kind(outputs, y)
    return kind, losses.targets(kind, y, outputs)


def _loss_of(kind: losses.Kind) -> Loss:
    if kind == "binary":
        return lambda outputs, targets, _: tf.reduce_mean(keras.losses.binary_crossentropy(targets, _first(outputs)))
    if kind == "mean_squared_error":
        return lambda outputs, targets, _: tf.reduce_mean(tf.square(_first(outputs) - targets))
    of_logits = kind == "cross_entropy_of_logits"
    return lambda outputs, targets, _: tf.reduce_mean(
        keras.losses.sparse_categorical_crossentropy(targets, _first(outputs), from_logits=of_logits)
    )


def _step(model: Any, training: Training, total: int, loss: Loss, teacher: Any) -> Callable[[Any, Any], Any]:
    """One update as a compiled function of inputs and targets, which gives the loss."""
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(training.learning_rate, total))
    variables = model.trainable_variables
    check_trainable(variables)
    masks = [batches.kept(variable.numpy()) for variable in variables]
    optimizer.build(variables)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def step(inputs: list[Any], targets: Any) -> Any:
        taught = None if teacher is None else _one_or_list(teacher(structured(teacher, inputs), training=False))
        with tf.GradientTape() as tape:
            outputs = _one_or_list(model(structured(model, inputs), training=True))
            value = loss(outputs, targets, taught)
            total_loss = tf.add_n([value, *model.losses]) if model.losses else value
        gradients = tape.gradient(total_loss, variables)
        optimizer.apply([_masked(*each) for each in zip(gradients, masks, strict=True)], variables)
        return value

    return step  # type: ignore[no-any-return]


def _masked(gradient: Any, mask: NDArray[np.bool_] | None) -> Any:
    """Without a gradient Adam moves nothing."""
    return (
        gradient if mask is None or gradient is None else tf.convert_to_tensor(gradient) * tf.cast(mask, gradient.dtype)
    )


def _tensors(model: Trainable, arrays: list[NDArray[Any]]) -> list[Any]:
    """One batch in the dtypes of the model's inputs."""
    return [tf.constant(array, wanted.dtype) for array, wanted in zip(arrays, model.module.inputs, strict=True)]


def _flat(outputs: Any) -> list[Any]:
    return keras.tree.flatten(outputs)  # type: ignore[no-any-return]


def _one_or_list(outputs: Any) -> Any:
    flat = _flat(outputs)
    return flat[0] if len(flat) == 1 else flat


def _first(outputs: Any) -> Any:
    return outputs[0] if isinstance(outputs, list) else outputs


@contextmanager
def _deterministic(model: Any, seed: int) -> Iterator[None]:
    """Deterministic operators; afterwards as it was: other code in this process may draw without a seed."""
    before = _tensorflow_config.is_op_determinism_enabled()
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    for place, variable in enumerate(model.variables):
        if variable.name == "seed_generator_state":
            variable.assign(np.array([seed, place], variable.dtype))
    try:
        yield
    finally:
        if not before:
            _tensorflow_config.disable_op_determinism()
