"""Small trained models of every family that edgeward promises to convert, in Keras and in PyTorch.

data, boxes   what they are trained on and asked about
*_keras       functional models as Keras's tutorials write them, one function each
*_torch       modules as PyTorch's tutorials write them, one function each
writing       trains them and writes each as a source of every kind, with its own answers; in a worker
cells         converts such a source and compares every engine with those answers

This module imports neither framework: it names the builders.
"""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from msgspec import Struct

from tests.families import boxes, data
from tests.families.data import Array, Arrays

SourceKind = Literal["keras", "saved_model", "torch", "onnx"]
SOURCES: tuple[SourceKind, ...] = get_args(SourceKind)
SAMPLES = 16
_UNSEEN = 1  # the part of the data that no family is trained on


class Family(Struct, frozen=True):
    """One kind of model.

    Attributes:
        name: Also the name of its builder in both modules.
        keras, torch: The modules of this package that build it.
        samples: What it is asked, by input name, as Keras takes it; see `for_torch`.
        torch_batch: The one batch size that the PyTorch program takes, or None when any will do.
        onnx_from: The framework that its ONNX file comes from.
        signature: Output names of a SavedModel that is written by tf.saved_model.save; by default model.export does it,
            which takes layers that augment pictures along as if it were for training.
    """

    name: str
    keras: str
    torch: str
    samples: Callable[[], Arrays]
    torch_batch: int | None = None
    onnx_from: Literal["keras", "torch"] = "torch"
    signature: tuple[str, ...] = ()


def for_torch(inputs: Arrays) -> Arrays:
    """The same samples for PyTorch: pictures with their channels first, tokens of 64 bits."""
    return {name: _for_torch(array) for name, array in inputs.items()}


def _for_torch(array: Array) -> Array:
    if array.ndim == 4:
        return np.ascontiguousarray(array.transpose(0, 3, 1, 2))
    return array.astype(np.int64) if array.dtype.kind == "i" else array


def _digits() -> Arrays:
    return {"image": data.digits(SAMPLES, _UNSEEN)[0]}


def _flat_digits() -> Arrays:
    return {"image": data.digits(SAMPLES, _UNSEEN)[0][..., 0]}


def _photographs() -> Arrays:
    return {"image": data.photographs(SAMPLES, _UNSEEN)[0]}


def _faces() -> Arrays:
    return {"image": data.faces(SAMPLES, _UNSEEN)[0]}


def _shapes() -> Arrays:
    return {"image": data.shapes(SAMPLES, _UNSEEN)[0]}


def _rectangles() -> Arrays:
    return {"image": boxes.rectangles(SAMPLES, _UNSEEN)[0]}


def _noise() -> Arrays:
    return {"noise": np.random.default_rng(_UNSEEN).normal(size=(SAMPLES, 32)).astype(np.float32)}


def _reviews() -> Arrays:
    return {"tokens": data.reviews(SAMPLES, _UNSEEN)[0]}


def _long_reviews() -> Arrays:
    return {"tokens": data.reviews(SAMPLES, _UNSEEN)[0].astype(np.int64)}


def _masked_reviews() -> Arrays:
    tokens, _ = data.reviews(SAMPLES, _UNSEEN, padded="behind")
    return {"tokens": tokens, "mask": tokens != 0}


def _decoder_states() -> Arrays:
    random = np.random.default_rng(_UNSEEN)
    state_h, state_c = np.tanh(random.normal(size=(2, SAMPLES, 32))).astype(np.float32)
    token = random.integers(0, 11, size=(SAMPLES, 1)).astype(np.int32)
    return {"token": token, "state_h": state_h, "state_c": state_c}


FAMILIES = (
    Family("mlp", "vision_keras", "vision_torch", _flat_digits),
    Family("mnist_cnn", "vision_keras", "vision_torch", _digits, onnx_from="keras"),
    Family("cifar10_cnn", "vision_keras", "vision_torch", _photographs, signature=("probabilities",)),
    Family("resnet", "vision_keras", "vision_torch", _photographs),
    Family("mobilenet", "vision_keras", "vision_torch", _photographs),
    Family("face_embedding", "vision_keras", "vision_torch", _faces, torch_batch=1),
    Family("autoencoder", "pictures_keras", "pictures_torch", _digits, torch_batch=4),
    Family("gan_generator", "pictures_keras", "pictures_torch", _noise),
    Family("unet", "pictures_keras", "pictures_torch", _shapes),
    Family("detector", "pictures_keras", "pictures_torch", _rectangles),
    Family("embedding_lstm", "text_keras", "text_torch", _reviews),
    Family("bidirectional_lstm", "text_keras", "text_torch", _reviews),
    Family("gru", "text_keras", "text_torch", _long_reviews, onnx_from="keras"),
    Family("transformer_encoder", "text_keras", "text_torch", _masked_reviews),
    Family("seq2seq_step", "text_keras", "text_torch", _decoder_states, signature=("digits", "next_h", "next_c")),
)


def family(name: str) -> Family:
    """The family of that name."""
    return next(each for each in FAMILIES if each.name == name)
