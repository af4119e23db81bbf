"""Parameters and multiply-accumulates are those that one counts by hand, whatever the layers are nested in."""

from typing import Any

import pytest

from edgeward_converters.compress.counting import Size, count
from edgeward_converters.compress.step import Trainable
from edgeward_converters.worker import Worker

# Each is what makes it, parameters and MACs as one would write them down.
_KERAS = {
    "dense": (28 * 10 + 10, 28 * 10),
    "dense for each of 5": (8 * 3 + 3, 5 * 8 * 3),
    "strided convolution": (9 * 4 * 6 + 6, 9 * 4 * 6 * 5 * 5),
    "grouped": (9 * 2 * 6 + 6, 9 * 2 * 6 * 8 * 8),
    "depthwise": (9 * 4, 9 * 4 * 10 * 10),
    "separable": (9 * 4 + 4 * 6, (9 * 4 + 4 * 6) * 8 * 8),
    "transposed": (9 * 4 * 6 + 6, 9 * 4 * 6 * 10 * 10),
    "causal": (3 * 4 * 6, 3 * 4 * 6 * 12),
    "lstm": (4 * (8 * 16 + 16 * 16 + 16), 20 * 4 * (8 * 16 + 16 * 16)),
    "bidirectional gru": (2 * 3 * (4 * 5 + 5 * 5 + 2 * 5), 2 * 20 * 3 * (4 * 5 + 5 * 5)),
    "embedding": (100 * 8, 0),
    "batch norm": (4 * 6, 0),
    "attention": (4 * (8 * 8 + 8), 4 * 12 * 8 * 8 + 2 * 12 * 12 * 8),
    "einsum": (8 * 5, 12 * 8 * 5),
    "shared layer": (6 * 6, 3 * 6 * 6),
    "nested": (6 * 6, 2 * 6 * 6),
    "free length": (4 * 3, 128 * 4 * 3),
    "free picture": (3 * 5, 224 * 224 * 3 * 5),
}
_TORCH = {
    "linear": (28 * 10 + 10, 28 * 10),
    "strided convolution": (9 * 4 * 6 + 6, 9 * 4 * 6 * 5 * 5),
    "depthwise": (9 * 4, 9 * 4 * 8 * 8),
    "transposed": (9 * 4 * 6, 9 * 4 * 6 * 10 * 10),
    "lstm": (4 * (8 * 16 + 16 * 16 + 2 * 16), 20 * 4 * (8 * 16 + 16 * 16)),
    "transformer": (4 * (8 * 8 + 8) + 2 * 8 * 16 + 16 + 8 + 4 * 8, 12 * (4 * 64 + 2 * 128) + 2 * 12 * 12 * 8),
    "batch norm": (4 * 6, 0),
    "tied": (6 * 6, 2 * 6 * 6),
}


def _keras_models() -> dict[str, Any]:
    from keras import Input, Model, Sequential, layers

    def one(shape: tuple[int | None, ...], layer: Any) -> Any:
        return Sequential([Input(shape), layer])

    tokens, twelve, six = Input((30,), dtype="int32"), Input((12, 8)), Input((6,))
    again = layers.Dense(6, use_bias=False)
    inner = Sequential([Input((6,)), layers.Dense(6, use_bias=False)])
    return {
        "dense": one((28,), layers.Dense(10)),
        "dense for each of 5": one((5, 8), layers.Dense(3)),
        "strided convolution": one((10, 10, 4), layers.Conv2D(6, 3, strides=2, padding="same")),
        "grouped": one((10, 10, 4), layers.Conv2D(6, 3, groups=2)),
        "depthwise": one((10, 10, 4), layers.DepthwiseConv2D(3, padding="same", use_bias=False)),
        "separable": one((10, 10, 4), layers.SeparableConv2D(6, 3, use_bias=False)),
        "transposed": one((10, 10, 4), layers.Conv2DTranspose(6, 3, strides=2)),
        "causal": one((12, 4), layers.Conv1D(6, 3, padding="causal", use_bias=False)),
        "lstm": one((20, 8), layers.LSTM(16, return_sequences=True)),
        "bidirectional gru": one((20, 4), layers.Bidirectional(layers.GRU(5))),
        "embedding": Model(tokens, layers.Embedding(100, 8)(tokens)),
        "batch norm": one((5, 6), layers.BatchNormalization()),
        "attention": Model(twelve, layers.MultiHeadAttention(2, 4)(twelve, twelve)),
        "einsum": Model(twelve, layers.EinsumDense("...x,xy->...y", output_shape=5)(twelve)),
        "shared layer": Model(six, again(again(again(six)))),
        "nested": Model(six, inner(inner(six))),
        "free length": one((None, 4), layers.Dense(3, use_bias=False)),
        "free picture": one((None, None, 3), layers.Conv2D(5, 1, use_bias=False)),
    }


def _torch_models() -> dict[str, tuple[Any, Any]]:
    import torch
    from torch import nn

    tied = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False))
    tied[1].weight = tied[0].weight
    return {
        "linear": (nn.Linear(28, 10), torch.randn(3, 28)),
        "strided convolution": (nn.Conv2d(4, 6, 3, stride=2, padding=1), torch.randn(3, 4, 10, 10)),
        "depthwise": (nn.Conv2d(4, 4, 3, groups=4, bias=False), torch.randn(2, 4, 10, 10)),
        "transposed": (nn.ConvTranspose2d(4, 6, 3, bias=False), torch.randn(2, 4, 10, 10)),
        "lstm": (nn.LSTM(8, 16, batch_first=True), torch.randn(2, 20, 8)),
        "transformer": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), torch.randn(2, 12, 8)),
        "batch norm": (nn.BatchNorm1d(6), torch.randn(2, 6)),
        "tied": (tied, torch.randn(2, 6)),
    }


def _count_keras() -> dict[str, Size]:
    return {name: count(Trainable("keras", model)) for name, model in _keras_models().items()}


def _count_torch() -> tuple[dict[str, Size], bool]:
    models = _torch_models()
    sizes = {name: count(Trainable("torch", model.train(), (given,))) for name, (model, given) in models.items()}
    return sizes, all(each.training for model, _ in models.values() for each in model.modules())


@pytest.fixture(scope="module")
def keras_sizes(worker: Worker) -> dict[str, Size]:
    return worker.run(_count_keras)


@pytest.fixture(scope="module")
def torch_sizes(worker: Worker) -> tuple[dict[str, Size], bool]:
    return worker.run(_count_torch)


@pytest.mark.parametrize("name", _KERAS)
def test_a_keras_model_is_as_large_as_its_layers_say(name: str, keras_sizes: dict[str, Size]) -> None:
    assert keras_sizes[name] == Size(*_KERAS[name])


@pytest.mark.parametrize("name", _TORCH)
def test_a_pytorch_module_is_as_large_as_its_layers_say(name: str, torch_sizes: tuple[dict[str, Size], bool]) -> None:
    assert torch_sizes[0][name] == Size(*_TORCH[name])


def test_counting_leaves_a_module_in_its_mode(torch_sizes: tuple[dict[str, Size], bool]) -> None:
    assert torch_sizes[1], "they were in training mode, and are again"
