"""Families that look at a picture, in Keras as its tutorials write them. Each function gives a trained model."""

import keras
from keras import layers

from tests.families import data

BATCH = 64


def mlp() -> keras.Model:
    """The beginner's multilayer perceptron on MNIST."""
    image = keras.Input((28, 28), name="image")
    x = layers.Flatten()(image)
    x = layers.Dense(128, activation="relu")(x)
    x = layers.Dropout(0.2)(x)
    model = keras.Model(image, layers.Dense(10, activation="softmax", name="probabilities")(x), name="mlp")
    pictures, classes = data.digits(6000)
    return _classified(model, pictures[..., 0], classes)


def mnist_cnn() -> keras.Model:
    """Keras's "simple MNIST convnet"."""
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Conv2D(16, 3, activation="relu")(image)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(32, 3, activation="relu")(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Dropout(0.5)(layers.Flatten()(x))
    model = keras.Model(image, layers.Dense(10, activation="softmax", name="probabilities")(x), name="mnist_cnn")
    return _classified(model, *data.digits(4000))


def cifar10_cnn() -> keras.Model:
    """TensorFlow's CNN tutorial, with the preprocessing and augmentation layers of the one on image classification."""
    image = keras.Input((32, 32, 3), name="image")
    x = layers.RandomFlip("horizontal")(image)
    x = layers.Rescaling(1 / 255)(x)
    for filters in (16, 32):
        x = layers.Conv2D(filters, 3, activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(32, 3, activation="relu")(x)
    x = layers.Dense(64, activation="relu")(layers.Flatten()(x))
    model = keras.Model(image, layers.Dense(10, activation="softmax", name="probabilities")(x), name="cifar10_cnn")
    return _classified(model, *data.photographs(4000))


def resnet() -> keras.Model:
    """A residual network for CIFAR-10 (He et al. 2015, section 4.2), one block a stage."""
    image = keras.Input((32, 32, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = _convolved(x, 16)
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        x = _residual(x, filters, strides)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, layers.Dense(10, activation="softmax", name="probabilities")(x), name="resnet")
    return _classified(model, *data.photographs(2500))


def mobilenet() -> keras.Model:
    """Inverted residuals with depthwise convolutions (MobileNetV2)."""
    image = keras.Input((32, 32, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = layers.ReLU(6.0)(_normalized(layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(x)))
    for filters, strides in ((16, 1), (24, 2), (24, 1), (32, 2)):
        x = _inverted_residual(x, filters, strides)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, layers.Dense(10, activation="softmax", name="probabilities")(x), name="mobilenet")
    return _classified(model, *data.photographs(4000))


def face_embedding() -> keras.Model:
    """A vector of length 1 for a face, learnt by telling persons apart by cosine (NormFace)."""
    image = keras.Input((32, 32, 1), name="image")
    x = _convolved(_convolved(image, 16, strides=2), 32, strides=2)
    x = layers.Dense(32)(layers.Flatten()(x))
    model = keras.Model(image, layers.UnitNormalization(name="embedding")(x), name="face_embedding")
    whose = layers.Dense(data.PERSONS, use_bias=False, kernel_constraint=keras.constraints.UnitNorm())(model.output)
    _classified(keras.Model(image, layers.Softmax()(layers.Rescaling(16.0)(whose))), *data.faces(3000), epochs=3)
    return model


def _classified(model: keras.Model, pictures: data.Array, classes: data.Array, epochs: int = 1) -> keras.Model:
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(pictures, classes, batch_size=BATCH, epochs=epochs, verbose=2)
    return model


def _normalized(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.BatchNormalization(momentum=0.9)(x)


def _convolved(x: keras.KerasTensor, filters: int, strides: int = 1) -> keras.KerasTensor:
    x = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(_normalized(x))


def _residual(x: keras.KerasTensor, filters: int, strides: int) -> keras.KerasTensor:
    y = _convolved(x, filters, strides)
    y = _normalized(layers.Conv2D(filters, 3, padding="same", use_bias=False)(y))
    if strides > 1:
        x = _normalized(layers.Conv2D(filters, 1, strides=strides, use_bias=False)(x))
    return layers.ReLU()(layers.Add()([x, y]))


def _inverted_residual(x: keras.KerasTensor, filters: int, strides: int) -> keras.KerasTensor:
    y = layers.ReLU(6.0)(_normalized(layers.Conv2D(4 * x.shape[-1], 1, use_bias=False)(x)))
    y = layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(y)
    y = layers.ReLU(6.0)(_normalized(y))
    y = _normalized(layers.Conv2D(filters, 1, use_bias=False)(y))
    return layers.Add()([x, y]) if strides == 1 and x.shape[-1] == filters else y
