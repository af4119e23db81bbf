"""Losses of distillation, and dropout while training, for Keras on TensorFlow."""

from typing import Any

import keras
import tensorflow as tf

_SMALLEST = 1e-7
_SUM_TOLERANCE = 1e-3


def distillation(outputs: Any, targets: Any, taught: Any, kind: str, temperature: float, alpha: float) -> Any:
    """See `distillation.soft_targets` and `hard_targets`."""
    students, teachers = tf.nest.flatten(outputs), tf.nest.flatten(taught)
    pairs = list(zip(students, teachers, strict=True))
    from_teacher = tf.add_n([_from_teacher(student, teacher, kind, temperature) for student, teacher in pairs])
    if targets is None:
        return from_teacher
    return alpha * from_teacher + (1 - alpha) * _from_targets(*pairs[0], targets)


def _from_teacher(student: Any, teacher: Any, kind: str, temperature: float) -> Any:
    if len(student.shape) != 2:
        return tf.reduce_mean(tf.square(student - teacher))
    if student.shape[1] == 1:
        return tf.where(
            _are_sigmoids(student, teacher),
            _from_classes(_two_classes(student), _two_classes(teacher), kind, temperature),
            tf.reduce_mean(tf.square(student - teacher)),
        )
    return _from_classes(_logits(student), _logits(teacher), kind, temperature)


def _from_classes(student: Any, teacher: Any, kind: str, temperature: float) -> Any:
    """Kullback-Leibler divergence of softened logits, or cross-entropy with the teacher's largest."""
    if kind == "hard":
        return _cross_entropy(student, tf.argmax(teacher, axis=1))
    softened = tf.nn.log_softmax(teacher / temperature)
    difference = softened - tf.nn.log_softmax(student / temperature)
    return temperature**2 * tf.reduce_mean(tf.reduce_sum(tf.exp(softened) * difference, axis=1))


def _from_targets(student: Any, teacher: Any, targets: Any) -> Any:
    if targets.dtype.is_integer:
        return _cross_entropy(_logits(student), targets)
    squared = tf.reduce_mean(tf.square(student - targets))
    if len(student.shape) != 2 or student.shape[1] != 1:
        return squared
    inside = tf.clip_by_value(student, _SMALLEST, 1 - _SMALLEST)
    binary = tf.reduce_mean(keras.losses.binary_crossentropy(tf.clip_by_value(targets, 0.0, 1.0), inside))
    return tf.where(_are_sigmoids(student, teacher), binary, squared)


def _cross_entropy(logits: Any, labels: Any) -> Any:
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


def _logits(outputs: Any) -> Any:
    """Logits of outputs (n, classes), which are logits or probabilities: rows that add up to 1."""
    adds_up = tf.reduce_all(tf.abs(tf.reduce_sum(outputs, axis=1) - 1) < _SUM_TOLERANCE)
    is_share = tf.reduce_all(outputs >= 0)
    return tf.where(adds_up & is_share, tf.math.log(tf.clip_by_value(outputs, _SMALLEST, 1.0)), outputs)


def _two_classes(sigmoids: Any) -> Any:
    """Logits of (not, yes)."""
    inside = tf.clip_by_value(sigmoids, _SMALLEST, 1 - _SMALLEST)
    return tf.math.log(tf.concat([1 - inside, inside], axis=1))


def _are_sigmoids(student: Any, teacher: Any) -> Any:
    both = tf.concat([student, teacher], axis=0)
    return tf.reduce_all((both >= 0) & (both <= 1))
