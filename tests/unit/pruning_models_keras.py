"""Keras models in which channels depend on each other in every way that pruning has to understand."""

from typing import Any

import keras
from keras import layers


def residual() -> Any:
    """ResNet with identity and projection shortcuts."""
    picture = keras.Input((16, 16, 3), name="picture")
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", name="stem")(picture)))
    y = layers.Activation("relu")(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", name="inner")(x)))
    x = layers.Add()([x, layers.Conv2D(8, 3, padding="same", name="outer")(y)])
    y = layers.Conv2D(12, 3, strides=2, padding="same", activation="relu", name="down")(x)
    x = layers.ReLU(6.0)(layers.Add()([y, layers.Conv2D(12, 1, strides=2, name="shortcut")(x)]))
    x = layers.Flatten()(layers.AveragePooling2D(8)(x))
    return keras.Model(picture, layers.Dense(5, activation="softmax", name="classes")(x))


def sequential() -> Any:
    """Flattening to a dense layer: channels become rows of its kernel."""
    return keras.Sequential(
        [
            keras.Input((12, 12, 1), name="pixels"),
            layers.Conv2D(6, 3, activation="relu", name="first"),
            layers.MaxPooling2D(),
            layers.Conv2D(8, 3, activation="relu", name="second"),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(16, activation="relu", name="hidden"),
            layers.Dense(3, name="classes"),
        ]
    )


def separable() -> Any:
    """MobileNet: depthwise, squeeze and excitation, inverted residuals, operators, two outputs in a dict."""
    picture = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, strides=2, use_bias=False)(layers.ZeroPadding2D()(picture))
    for filters, strides, multiplier in ((8, 1, 1), (12, 2, 2), (12, 1, 1)):
        y = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(2 * filters, 1, use_bias=False)(x)))
        y = layers.DepthwiseConv2D(3, strides=strides, padding="same", depth_multiplier=multiplier)(y)
        y = layers.BatchNormalization()(y)
        squeezed = layers.Conv2D(4, 1, activation="relu")(layers.GlobalAveragePooling2D(keepdims=True)(y))
        y = layers.Multiply()([y, layers.Conv2D(y.shape[-1], 1, activation="hard_sigmoid")(squeezed)])
        y = layers.BatchNormalization()(layers.Conv2D(filters, 1)(y))
        x = layers.Add()([x, y]) if x.shape == y.shape else y
    x = layers.SeparableConv2D(10, 3, depth_multiplier=2, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x * keras.ops.relu6(x + 3.0) * (1 / 6))
    x = layers.Reshape((6,))(layers.Conv2D(6, 1)(layers.Reshape((1, 1, 10))(x)))
    return keras.Model(picture, {"a": layers.Dense(4, name="a")(x), "b": layers.Dense(2, name="b")(x)})


def concatenated() -> Any:
    """U-Net; one part of a concatenation is added to another convolution, so that groups begin inside it."""
    picture = keras.Input((16, 16, 2))
    first = layers.Conv2D(6, 3, padding="same", activation="relu")(picture)
    second = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(10, 3, padding="same")(layers.MaxPooling2D()(first)))
    x = layers.Conv2D(14, 3, padding="same", activation="relu")(layers.MaxPooling2D()(second))
    x = layers.Concatenate()([layers.Conv2DTranspose(9, 2, strides=2)(x), second])
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.BatchNormalization()(x))
    x = layers.Concatenate()([layers.UpSampling2D()(x), first])
    x = layers.Add()([x, layers.Conv2D(14, 1)(x)])
    return keras.Model(picture, layers.Conv2D(2, 1, activation="tanh")(x))


def recurrent() -> Any:
    """Units of recurrent layers, over a masked embedding."""
    words = keras.Input((9,), dtype="int32", name="words")
    x = layers.SpatialDropout1D(0.1)(layers.Embedding(50, 12, mask_zero=True)(words))
    x = layers.LSTM(10, return_sequences=True)(x)
    x = layers.Bidirectional(layers.GRU(7, return_sequences=True))(x)
    return keras.Model(words, layers.Dense(1, activation="sigmoid")(layers.SimpleRNN(6)(x)))


def shared() -> Any:
    """Layers and a whole model that are used twice, on two inputs."""
    first, second = keras.Input((10, 4), name="first"), keras.Input((10, 4), name="second")
    convolution, dense = layers.Conv1D(8, 3, padding="same", activation="relu", name="both"), layers.Dense(8)
    inner = keras.Sequential(
        [
            keras.Input((10, 8)),
            layers.Conv1D(6, 3, name="convolution"),
            layers.BatchNormalization(),
            layers.GlobalMaxPooling1D(),
        ],
        name="inner",
    )
    ends = [inner(dense(convolution(each))) for each in (first, second)]
    return keras.Model([first, second], layers.Dense(2)(layers.Subtract()(ends)))


def not_understood() -> Any:
    """Softmax, groups and normalization over channels keep theirs; one gated convolution between may lose some."""
    picture = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, activation="softmax")(picture)
    x = layers.Conv2D(8, 3, groups=2, padding="same")(layers.Conv2D(8, 1)(x))
    x = layers.Conv2D(6, 1, name="free")(x)
    x = layers.Permute((2, 1, 3))(x * layers.Conv2D(1, 1, activation="sigmoid")(x))
    x = layers.Flatten()(layers.LayerNormalization()(layers.Conv2D(4, 1)(x)))
    return keras.Model(picture, keras.ops.softmax(layers.Dense(4)(x)))


def attention() -> Any:
    """A transformer's block: only the feed-forward part may lose units."""
    tokens = keras.Input((6, 8))
    x = layers.Dense(8)(tokens)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(x, x)])
    y = layers.Dense(8)(layers.Dense(16, activation="gelu", name="forward")(x))
    return keras.Model(tokens, layers.Dense(3)(layers.LayerNormalization()(x + y)[:, 0]))


MODELS = {
    each.__name__: each
    for each in (residual, sequential, separable, concatenated, recurrent, shared, not_understood, attention)
}
