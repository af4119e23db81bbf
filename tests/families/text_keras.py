"""Families that read sequences, in Keras as its tutorials write them. Each function gives a trained model."""

import keras
import numpy as np
from keras import layers, ops

from tests.families import data

UNITS = 32
DIGITS = 10
START = 10  # the token that begins every answer of the sequence to sequence model


def embedding_lstm() -> keras.Model:
    """Embedding, LSTM, sigmoid; padding is masked."""
    tokens = keras.Input((data.REVIEW_LENGTH,), dtype="int32", name="tokens")
    x = layers.Embedding(data.WORDS, 24, mask_zero=True)(tokens)
    x = layers.LSTM(UNITS)(x)
    model = keras.Model(tokens, layers.Dense(1, activation="sigmoid", name="good")(x), name="embedding_lstm")
    return _taught(model, *data.reviews(2500))


def bidirectional_lstm() -> keras.Model:
    """Keras's example "Bidirectional LSTM on IMDB": two of them, one on the other."""
    tokens = keras.Input((data.REVIEW_LENGTH,), dtype="int32", name="tokens")
    x = layers.Embedding(data.WORDS, 24)(tokens)
    x = layers.Bidirectional(layers.LSTM(16, return_sequences=True))(x)
    x = layers.Bidirectional(layers.LSTM(16))(x)
    model = keras.Model(tokens, layers.Dense(1, activation="sigmoid", name="good")(x), name="bidirectional_lstm")
    return _taught(model, *data.reviews(2000))


def gru() -> keras.Model:
    """Embedding, GRU, sigmoid, for tokens of 64 bits."""
    tokens = keras.Input((data.REVIEW_LENGTH,), dtype="int64", name="tokens")
    x = layers.Embedding(data.WORDS, 24)(tokens)
    x = layers.GRU(UNITS)(x)
    model = keras.Model(tokens, layers.Dense(1, activation="sigmoid", name="good")(x), name="gru")
    return _taught(model, *data.reviews(2500))


def transformer_encoder() -> keras.Model:
    """Two encoder layers over learnt positions; `mask` is true where there is a word."""
    tokens = keras.Input((data.REVIEW_LENGTH,), dtype="int32", name="tokens")
    mask = keras.Input((data.REVIEW_LENGTH,), dtype="bool", name="mask")
    here = ops.cast(mask, "int32")
    x = layers.Embedding(data.WORDS, UNITS)(tokens)
    x = x + layers.Embedding(data.REVIEW_LENGTH + 1, UNITS)(ops.cumsum(here, axis=1) * here)
    for _ in range(2):
        x = _encoded(x, mask)
    weight = ops.expand_dims(ops.cast(mask, "float32"), -1)
    x = ops.sum(x * weight, axis=1) / ops.sum(weight, axis=1)
    good = layers.Dense(1, activation="sigmoid", name="good")(x)
    model = keras.Model([tokens, mask], good, name="transformer_encoder")
    words, labels = data.reviews(4000, padded="behind")
    return _taught(model, [words, words != 0], labels, speed=0.002)


def seq2seq_step() -> keras.Model:
    """One step of a decoder that continues arithmetic progressions: a token and two states in, and out again.

    Trained with its encoder, and taken apart after it, as Keras's character-level sequence to sequence example does.
    """
    question = keras.Input((None,), dtype="int32", name="question")
    _, *states = layers.LSTM(UNITS, return_state=True)(layers.Embedding(DIGITS, 8)(question))
    embedding = layers.Embedding(DIGITS + 1, 8)
    decoder = layers.LSTM(UNITS, return_sequences=True, return_state=True, name="decoder")
    digits = layers.Dense(DIGITS, activation="softmax", name="digits")
    answer = keras.Input((None,), dtype="int32", name="answer")
    decoded, _, _ = decoder(embedding(answer), initial_state=states)
    whole = keras.Model([question, answer], digits(decoded))
    asked, wanted = data.progressions(4000)
    told = np.concatenate([np.full((len(wanted), 1), START, np.int32), wanted[:, :-1]], axis=1)
    whole.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    whole.fit([asked, told], wanted, batch_size=64, epochs=2, verbose=2)

    token = keras.Input((1,), dtype="int32", name="token")
    state_h, state_c = keras.Input((UNITS,), name="state_h"), keras.Input((UNITS,), name="state_c")
    decoded, next_h, next_c = decoder(embedding(token), initial_state=[state_h, state_c])
    return keras.Model([token, state_h, state_c], [digits(decoded), next_h, next_c], name="seq2seq_step")


def _taught(
    model: keras.Model, tokens: data.Array | list[data.Array], good: data.Array, speed: float = 0.005
) -> keras.Model:
    model.compile(keras.optimizers.Adam(speed), "binary_crossentropy")
    model.fit(tokens, good, batch_size=64, epochs=2, verbose=2)
    return model


def _encoded(x: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
    attended = layers.MultiHeadAttention(2, UNITS // 2)(x, x, attention_mask=ops.expand_dims(mask, 1))
    x = layers.LayerNormalization(epsilon=1e-6)(x + layers.Dropout(0.1)(attended))
    fed = layers.Dense(UNITS)(layers.Dense(64, activation="gelu")(x))
    return layers.LayerNormalization(epsilon=1e-6)(x + layers.Dropout(0.1)(fed))
