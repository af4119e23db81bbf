"""Families that draw pictures or find things in them, in Keras. Each function gives a trained model."""

import keras
import tensorflow as tf
from keras import layers, ops

from tests.families import boxes, data

NOISE = 32


def autoencoder() -> keras.Model:
    """The Keras blog's convolutional autoencoder on MNIST."""
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Conv2D(16, 3, activation="relu", padding="same")(image)
    x = layers.MaxPooling2D(2, padding="same")(x)
    x = layers.Conv2D(8, 3, activation="relu", padding="same")(x)
    x = layers.MaxPooling2D(2, padding="same")(x)
    x = layers.Conv2D(8, 3, activation="relu", padding="same")(x)
    x = layers.UpSampling2D(2)(x)
    x = layers.Conv2D(16, 3, activation="relu", padding="same")(x)
    x = layers.UpSampling2D(2)(x)
    decoded = layers.Conv2D(1, 3, activation="sigmoid", padding="same", name="decoded")(x)
    model = keras.Model(image, decoded, name="autoencoder")
    pictures, _ = data.digits(4000)
    model.compile(keras.optimizers.Adam(0.003), "binary_crossentropy")
    model.fit(pictures, pictures, batch_size=64, verbose=2)
    return model


def gan_generator() -> keras.Model:
    """The generator of a DCGAN, trained against its discriminator as TensorFlow's tutorial does it."""
    generator, discriminator = _generator(), _discriminator()
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    optimizers = [keras.optimizers.Adam(5e-4, beta_1=0.5) for _ in range(2)]

    @tf.function  # type: ignore[untyped-decorator]
    def step(real: tf.Tensor) -> None:
        noise = tf.random.normal((len(real), NOISE))
        with tf.GradientTape() as drawing, tf.GradientTape() as judging:
            drawn = generator(noise, training=True)
            of_real, of_drawn = discriminator(real, training=True), discriminator(drawn, training=True)
            generator_loss = loss(tf.ones_like(of_drawn), of_drawn)
            discriminator_loss = loss(tf.ones_like(of_real), of_real) + loss(tf.zeros_like(of_drawn), of_drawn)
        for model, tape, value, optimizer in zip(
            (generator, discriminator),
            (drawing, judging),
            (generator_loss, discriminator_loss),
            optimizers,
            strict=True,
        ):
            gradients = tape.gradient(value, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    pictures, _ = data.digits(6400)
    for start in range(0, len(pictures), 64):
        step(tf.constant(pictures[start : start + 64] * 2 - 1))
    return generator


def unet() -> keras.Model:
    """U-Net: down, across, and up again with what was seen on the way down."""
    image = keras.Input((data.SHAPE_SIDE, data.SHAPE_SIDE, 1), name="image")
    x, seen = image, []
    for filters in (8, 16):
        x = _twice_convolved(x, filters)
        seen.append(x)
        x = layers.MaxPooling2D()(x)
    x = _twice_convolved(x, 32)
    for filters in (16, 8):
        x = layers.Conv2DTranspose(filters, 2, strides=2)(x)
        x = _twice_convolved(layers.Concatenate()([seen.pop(), x]), filters)
    model = keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid", name="mask")(x), name="unet")
    model.compile(keras.optimizers.Adam(0.005), "binary_crossentropy")
    model.fit(*data.shapes(2000), batch_size=32, verbose=2)
    return model


def detector() -> keras.Model:
    """A single-shot detector on two grids; its boxes are decoded in the graph, relative to cells and anchors."""
    image = keras.Input((boxes.SIDE, boxes.SIDE, 1), name="image")
    x = _strided(_strided(image, 16), 24)
    found, scores = [], []
    for filters, grid, anchor in zip((32, 48), boxes.GRIDS, boxes.ANCHORS, strict=True):
        x = _strided(x, filters)
        found.append(_decoded(layers.Reshape((grid * grid, 4))(layers.Conv2D(4, 3, padding="same")(x)), grid, anchor))
        kinds = layers.Conv2D(boxes.CLASSES, 3, padding="same", activation="sigmoid")(x)
        scores.append(layers.Reshape((grid * grid, boxes.CLASSES))(kinds))
    outputs = {
        "boxes": layers.Concatenate(axis=1, name="boxes")(found),
        "scores": layers.Concatenate(axis=1, name="scores")(scores),
    }
    model = keras.Model(image, outputs, name="detector")
    pictures, wanted, kinds = boxes.rectangles(2500)
    model.compile(keras.optimizers.Adam(0.005), {"boxes": _distance, "scores": "binary_focal_crossentropy"})
    model.fit(pictures, {"boxes": wanted, "scores": kinds}, batch_size=32, verbose=2)
    return model


def _generator() -> keras.Model:
    noise = keras.Input((NOISE,), name="noise")
    x = layers.Dense(7 * 7 * 32, use_bias=False)(noise)
    x = layers.LeakyReLU()(layers.BatchNormalization()(x))
    x = layers.Reshape((7, 7, 32))(x)
    x = layers.Conv2DTranspose(16, 5, strides=2, padding="same", use_bias=False)(x)
    x = layers.LeakyReLU()(layers.BatchNormalization()(x))
    drawn = layers.Conv2DTranspose(1, 5, strides=2, padding="same", activation="tanh", name="image")(x)
    return keras.Model(noise, drawn, name="gan_generator")


def _discriminator() -> keras.Model:
    image = keras.Input((28, 28, 1))
    x = layers.LeakyReLU()(layers.Conv2D(16, 5, strides=2, padding="same")(image))
    x = layers.LeakyReLU()(layers.Conv2D(32, 5, strides=2, padding="same")(layers.Dropout(0.3)(x)))
    return keras.Model(image, layers.Dense(1)(layers.Flatten()(x)))


def _twice_convolved(x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
    for _ in range(2):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    return x


def _strided(x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
    x = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
    return layers.LeakyReLU(0.1)(layers.BatchNormalization(momentum=0.9)(x))


def _decoded(raw: keras.KerasTensor, grid: int, anchor: float) -> keras.KerasTensor:
    """From what a cell says to the box's corners, (n, cells, 4)."""
    centre = (ops.sigmoid(raw[..., :2]) + boxes.corners(grid)) / grid
    half = ops.exp(raw[..., 2:]) * (anchor / 2)
    return ops.concatenate([centre - half, centre + half], axis=-1)


def _distance(wanted: keras.KerasTensor, found: keras.KerasTensor) -> keras.KerasTensor:
    """How far the corners are off, where there is a box."""
    there = wanted[..., 4:]
    return ops.sum(there * ops.abs(wanted[..., :4] - found)) / (ops.sum(there) + 1e-6)
