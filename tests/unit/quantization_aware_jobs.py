"""What the tests of quantization-aware fine-tuning do in the worker, where frameworks are."""

from typing import Any

import numpy as np
from msgspec import Struct

from edgeward_converters.compress.quantization_aware import grid
from edgeward_converters.compress.quantization_aware.step import QuantizationAware
from edgeward_converters.compress.step import Samples, Trainable
from edgeward_converters.compress.training import Training, fit, predict, score
from tests.unit import training_jobs as jobs

_TRAINING = Training(epochs=4, batch_size=32, learning_rate=1e-2)
_QUIET: dict[str, Any] = {"seed": 0, "progress": lambda what, done: None, "what": ""}


class Result(Struct, frozen=True):
    """Accuracies in float, with weights rounded afterwards, and the same after the step; and what the step left."""

    source: float
    rounded: float
    aware: float
    aware_rounded: float
    moved: float
    is_repeatable: bool
    config_is_same: bool


def trained(framework: str, bits: int) -> Result:
    """A model that rounding to `bits` hurts, quantized with and without the step."""
    samples = jobs.vectors(30, 900)
    source = jobs.dense(framework, outputs=30, hidden=5)
    fit(source, samples, Training(epochs=20, batch_size=32, learning_rate=2e-2), **_QUIET)
    state, config = [each.copy() for each in jobs.arrays(source)], _configuration(source)
    accuracy = score(source, samples, "accuracy")
    _round(source, bits)
    rounded = score(source, samples, "accuracy")
    digests = []
    for _ in range(2):
        _set(source, state)
        step = QuantizationAware(weight_bits=bits, training=_TRAINING)  # type: ignore[arg-type]
        step.apply(source, jobs.context(source, samples))
        digests.append(jobs.digest(source))
    aware, before = score(source, samples, "accuracy"), predict(source, samples.inputs)[0]
    _round(source, bits)
    moved = float(np.abs(predict(source, samples.inputs)[0] - before).max())
    again = score(source, samples, "accuracy")
    same = config == _configuration(source)
    return Result(accuracy, rounded, aware, again, moved, digests[0] == digests[1], same)


def levels(framework: str) -> dict[str, int]:
    """How many values the channels' weights have at most, by layer, with 4 bits for some layers."""
    model = jobs.convolutional(framework)
    some = ("conv", "last") if framework == "keras" else ("0", "6")
    step = QuantizationAware(int4_layers=some, training=Training(epochs=1, batch_size=32))
    step.apply(model, jobs.context(model, jobs.shown(jobs.pictures(), framework)))
    found = {}
    for weight in _weights(model):
        values = weight.read()
        channels = np.moveaxis(values, weight.axes, range(len(weight.axes)))
        rows = channels.reshape(int(np.prod([values.shape[axis] for axis in weight.axes])), -1)
        ends = np.abs(rows).max(axis=1, keepdims=True)
        seven = np.rint(rows / ends * 7)
        found[weight.layer] = 4 if np.allclose(rows, seven * ends / 7, atol=1e-6) else 8
    return found


def recurrent(framework: str) -> tuple[list[str], int]:
    """The weights of a model of tokens that the step knows, and how many values a row or channel has at most."""
    generator = np.random.default_rng(0)
    tokens = generator.integers(1, 9, (64, 5))
    samples = Samples({"tokens": tokens}, (tokens > 4).sum(axis=1) > 2)
    model = _of_tokens(framework)
    step = QuantizationAware(weight_bits=4, training=Training(epochs=1, batch_size=32))
    step.apply(model, jobs.context(model, samples))
    found = _weights(model)
    counts = []
    for weight in found:
        values = weight.read()
        rows = np.moveaxis(values, weight.axes[0], 0).reshape(values.shape[weight.axes[0]], -1)
        counts += [len(np.unique(np.rint(row / max(np.abs(row).max(), 1e-9) * 7e3))) for row in rows]
    return [weight.layer for weight in found], max(counts)


def _of_tokens(framework: str) -> Trainable:
    """embedding → LSTM → sigmoid."""
    if framework == "keras":
        import keras

        keras.utils.set_random_seed(0)
        tokens = keras.Input((5,), dtype="int32")
        x = keras.layers.LSTM(24, name="lstm")(keras.layers.Embedding(9, 24, name="table")(tokens))
        return Trainable("keras", keras.Model(tokens, keras.layers.Dense(1, "sigmoid", name="last")(x)))
    import torch

    torch.manual_seed(0)

    class OfTokens(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(9, 24)
            self.lstm = torch.nn.LSTM(24, 24, batch_first=True)
            self.last = torch.nn.Linear(24, 1)

        def forward(self, tokens: Any) -> Any:
            return torch.sigmoid(self.last(self.lstm(self.table(tokens))[0][:, -1]))

    return Trainable("torch", OfTokens(), (torch.zeros(2, 5, dtype=torch.int64),))


def unknown_layer(framework: str) -> None:
    step = QuantizationAware(int4_layers=("nowhere",))
    step.apply(jobs.dense(framework), jobs.context(jobs.dense(framework), jobs.vectors()))


def distilled(framework: str) -> float:
    """Accuracy after the step with the source's answers in the loss."""
    samples = jobs.vectors(3)
    source, model = jobs.dense(framework), jobs.dense(framework)
    fit(source, samples, jobs.QUICK, **_QUIET)
    step = QuantizationAware(distillation=0.9, training=Training(epochs=8, batch_size=32, learning_rate=2e-2))
    step.apply(model, jobs.context(source, samples))
    return score(model, samples, "accuracy")


def rounded_activations(framework: str) -> list[float]:
    """What one dense layer with the weight 1 makes of −1, 0, 0.3, 254 while activations are rounded to 8 bits."""
    module = _framework(framework)
    if framework == "keras":
        import keras

        x = keras.Input((1,))
        model = Trainable("keras", keras.Model(x, keras.layers.Dense(1, kernel_initializer="ones")(x)))
    else:
        import torch

        model = Trainable("torch", torch.nn.Linear(1, 1), (torch.zeros(1, 1),))
        torch.nn.init.ones_(model.module.weight)
        torch.nn.init.zeros_(model.module.bias)
    values = Samples({"x": np.array([[-1.0], [0.0], [0.3], [254.0]], np.float32)})
    with module.rounded_activations(model, 8):
        return [float(each) for each in predict(model, values.inputs)[0][:, 0]]


def _round(model: Trainable, bits: int) -> None:
    """Between minimum and maximum of each channel, as post-training quantization does."""
    for weight in _weights(model):
        values = weight.read()
        ends = np.abs(values).max(axis=grid.within(values, weight.axes), keepdims=True)
        scale = np.where(ends > 0, ends, 1.0) / grid.largest_integer(bits)
        weight.write(grid.on_grid(values, scale.astype(np.float32), bits))


def _weights(model: Trainable) -> list[Any]:
    return list(_framework(model.framework).weights(model))


def _framework(name: str) -> Any:
    from importlib import import_module

    return import_module(f"edgeward_converters.compress.quantization_aware.{name}")


def _configuration(model: Trainable) -> str:
    return str(model.module.get_config() if model.framework == "keras" else model.module)


def _set(model: Trainable, state: list[Any]) -> None:
    if model.framework == "keras":
        model.module.set_weights(state)
        return
    import torch

    names = model.module.state_dict()
    model.module.load_state_dict({name: torch.from_numpy(each) for name, each in zip(names, state, strict=True)})
