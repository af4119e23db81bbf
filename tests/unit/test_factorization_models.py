"""Factorized Keras and PyTorch models: they compute what their kernels' products would, and all else stays."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgeward_converters.compress.factorization import Decompose, Factorize
from edgeward_converters.compress.step import Context, Samples, Trainable
from edgeward_converters.worker import Worker
from edgeward_runtimes.errors import ConfigError, ConversionError

_ROUNDING = 2e-5  # of float32, as a share of the largest output
_FEW = settings(max_examples=20)
_CONVOLUTION = {
    "kernel": st.tuples(st.integers(1, 4), st.integers(1, 4)),
    "strides": st.tuples(st.integers(1, 2), st.integers(1, 2)),
    "dilation": st.tuples(st.integers(1, 2), st.integers(1, 2)),
    "channels": st.tuples(st.integers(1, 6), st.integers(1, 6)),
    "bias": st.booleans(),
    "rank": st.integers(1, 7),
    "form": st.sampled_from(["low rank", "tucker", "cp"]),
}


def _randomized(model: Any) -> Any:
    """A Keras model with weights that leave no term out."""
    generator = np.random.default_rng(0)
    model.set_weights([generator.standard_normal(each.shape).astype(each.dtype) for each in model.get_weights()])
    return model


def _plan(sites: list[Any], form: str, rank: int) -> dict[str, Any]:
    from edgeward_converters.compress.factorization.forms import CanonicalPolyadic, LowRank, Tucker

    making: Any = {"low rank": LowRank, "tucker": Tucker, "cp": CanonicalPolyadic}[form]
    fitting = [
        site for site in sites if site.pointwise == (form == "low rank") and (form != "cp" or site.separable != "no")
    ]
    return {site.name: making(site, 0).by_rank(rank) for site in fitting}


def _far(given: Any, expected: Any) -> float:
    """The largest difference, as a share of the largest value."""
    pairs = [(np.asarray(one), np.asarray(two)) for one, two in zip(given, expected, strict=True)]
    return max(float(np.abs(one - two).max() / max(np.abs(two).max(), 1e-6)) for one, two in pairs)


def _keras_departure(model: Any, x: Any, form: str, rank: int) -> tuple[float, list[str]]:
    """How far the replaced graph is from the same model with the stages' products as kernels, and what was replaced."""
    import keras

    from edgeward_converters.compress.factorization import keras as framework
    from edgeward_converters.compress.factorization.stages import composed

    plan = _plan(framework.sites(model), form, rank)
    outputs = keras.tree.flatten(framework.replaced(model, plan)(x))
    framework.write(model, {name: composed(stages) for name, stages in plan.items()})
    return _far(outputs, keras.tree.flatten(model(x))), list(plan)


def _torch_departure(module: Any, x: Any, form: str, rank: int) -> tuple[float, float]:
    """The same of a PyTorch module, and how far the weights that others may read are from the products."""
    import torch

    from edgeward_converters.compress.factorization import torch as framework
    from edgeward_converters.compress.factorization.stages import composed

    plan = _plan(framework.sites(module), form, rank)
    smaller = framework.replaced(module, plan)
    framework.write(module, {name: composed(stages) for name, stages in plan.items()})
    with torch.no_grad():
        weights = [(smaller.get_submodule(name).weight, module.get_submodule(name).weight) for name in plan]
        return _far([smaller(x)], [module(x)]), max((_far([a], [b]) for a, b in weights), default=0.0)


def _keras_convolution(given: dict[str, Any], padding: str, layout: str) -> float:
    import keras

    inputs, outputs = given["channels"]
    shape = (9, 10, inputs) if layout == "channels_last" else (inputs, 9, 10)
    layer = keras.layers.Conv2D(
        outputs,
        given["kernel"],
        strides=given["strides"],
        dilation_rate=given["dilation"],
        padding=padding,
        use_bias=given["bias"],
        activation="relu",
        data_format=layout,
    )
    model = _randomized(keras.Sequential([keras.Input(shape), layer]))
    x = np.random.default_rng(1).standard_normal((2, *shape)).astype(np.float32)
    return _keras_departure(model, x, given["form"], given["rank"])[0]


def _torch_convolution(given: dict[str, Any], padding: int | str, mode: str) -> tuple[float, float]:
    import torch

    torch.manual_seed(0)
    layer = torch.nn.Conv2d(
        *given["channels"],
        given["kernel"],
        stride=given["strides"],
        dilation=given["dilation"],
        padding=padding,
        bias=given["bias"],
        padding_mode=mode,
    )
    x = torch.randn(2, given["channels"][0], 9, 10)
    return _torch_departure(torch.nn.Sequential(layer, torch.nn.ReLU()), x, given["form"], given["rank"])


@given(
    convolution=st.fixed_dictionaries(_CONVOLUTION),
    padding=st.sampled_from(["same", "valid"]),
    layout=st.sampled_from(["channels_last", "channels_first"]),
)
@_FEW
def test_a_keras_convolution_of_any_kind_computes_what_its_kernels_product_would(
    worker: Worker, convolution: dict[str, Any], padding: str, layout: str
) -> None:
    assume(max(convolution["strides"]) == 1 or max(convolution["dilation"]) == 1)  # Keras has not both
    assume(layout == "channels_last" or max(convolution["dilation"]) == 1)  # nor TensorFlow this on a CPU
    assert worker.run(_keras_convolution, convolution, padding, layout) < _ROUNDING


@given(
    convolution=st.fixed_dictionaries(_CONVOLUTION),
    padding=st.sampled_from(["same", "valid", 0, 1, 2]),
    mode=st.sampled_from(["zeros", "reflect", "circular"]),
)
@_FEW
def test_a_pytorch_convolution_of_any_kind_computes_what_its_kernels_product_would(
    worker: Worker, convolution: dict[str, Any], padding: int | str, mode: str
) -> None:
    assume(padding != "same" or max(convolution["strides"]) == 1)  # PyTorch has not both
    of_outputs, of_weights = worker.run(_torch_convolution, convolution, padding, mode)
    assert of_outputs < _ROUNDING
    assert of_weights < _ROUNDING


def _tangled() -> Any:
    """A model with a shared layer, a nested model called twice, recurrent layers, a mask, wrappers and two outputs."""
    import keras
    from keras import layers

    tokens = keras.Input((9,), dtype="int32", name="tokens")
    inner = keras.Sequential(
        [keras.Input((32,)), layers.Dense(24, name="dense"), layers.Dense(32, activation="tanh", name="dense_1")],
        name="inner",
    )
    shared = layers.Dense(32, activation="relu", name="shared")
    x = layers.Embedding(50, 16, mask_zero=True, name="words")(tokens)
    x = layers.Bidirectional(layers.LSTM(8, return_sequences=True), name="both_ways")(x)
    x = layers.LSTM(32, return_sequences=True, name="lstm")(x)
    x = layers.TimeDistributed(layers.Dense(32), name="each")(x)
    x = layers.GRU(32, go_backwards=True, name="gru")(x)
    y = shared(x)
    z = inner(shared(y + 1.0)) + inner(y)
    outputs = {"kind": layers.Dense(10, activation="softmax", name="kind")(z), "raw": keras.ops.relu(y)}
    return _randomized(keras.Model(tokens, outputs, name="tangled"))


def _replace_tangled(folder: Path) -> dict[str, Any]:
    import keras

    from edgeward_converters.compress.factorization import keras as framework

    x = np.random.default_rng(0).integers(0, 50, (3, 9)).astype(np.int32)  # zeros among them are masked
    departure, replaced = _keras_departure(_tangled(), x, "low rank", 4)
    full, _ = _keras_departure(_tangled(), x, "low rank", 99)
    model = _tangled()
    smaller = framework.replaced(model, _plan(framework.sites(model), "low rank", 4))
    smaller.save(folder / "smaller.keras")
    read = keras.models.load_model(folder / "smaller.keras", compile=False)
    return {
        "departure": departure,
        "full": full,
        "replaced": replaced,
        "names": [layer.name for layer in smaller.layers],
        "same": [[tensor.name for tensor in each.inputs] + each.output_names for each in (smaller, model)],
        "read": _far(keras.tree.flatten(read(x)), keras.tree.flatten(smaller(x))),
    }


def test_a_tangled_keras_graph_is_made_anew_as_it_was(worker: Worker, tmp_path: Path) -> None:
    found = worker.run(_replace_tangled, tmp_path)
    # The weights are large and a softmax is last, so rounding shows more.
    assert found["departure"] < 1e-3
    assert found["full"] < 1e-3
    assert found["read"] < _ROUNDING, "it can be saved and read"
    assert found["same"][0] == found["same"][1], "inputs and outputs keep their names"
    assert found["replaced"] == ["words", "lstm", "gru", "shared", "inner/dense", "inner/dense_1", "kind"]
    assert {"words_factor_1", "words", "shared_factor_1", "shared", "both_ways", "each"} <= set(found["names"])
    assert found["names"].count("shared") == 1


def _torch_modules() -> dict[str, Any]:
    import torch
    from torch import nn

    torch.manual_seed(0)

    class Tied(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.words, self.middle, self.out = nn.Embedding(40, 16), nn.Linear(16, 16), nn.Linear(16, 40, bias=False)
            self.again, self.out.weight = self.middle, self.words.weight

        def forward(self, x: Any) -> Any:
            return self.out(self.again(self.middle(self.words(x)).relu()))

    transformer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0).eval()
    alone = nn.Linear(12, 12)
    words = nn.Sequential(nn.Embedding(30, 12, padding_idx=0), nn.Conv1d(9, 4, 1, stride=2, padding=1))
    tokens = torch.randint(0, 30, (3, 9))
    return {
        "tied": (Tied(), tokens),
        "transformer": (transformer, torch.randn(2, 5, 16)),
        "alone": (alone, torch.randn(3, 12)),
        "words": (words, tokens),
    }


def _replace_torch() -> dict[str, Any]:
    from edgeward_converters.compress.factorization import torch as framework

    return {
        name: ([site.name for site in framework.sites(module)], *_torch_departure(module, x, "low rank", 3))
        for name, (module, x) in _torch_modules().items()
    }


def test_pytorch_modules_keep_what_they_share(worker: Worker) -> None:
    found = worker.run(_replace_torch)
    assert {name: sites for name, (sites, _, _) in found.items()} == {
        "tied": ["middle"],  # the words' weight is the output's
        "transformer": ["linear1", "linear2"],  # attention's own is of another class
        "alone": [""],
        "words": ["0", "1"],
    }
    assert max(max(departures) for _, *departures in found.values()) < _ROUNDING


def _digits() -> tuple[Samples, Samples]:
    """Scikit-learn's pictures of digits, 8 × 8: 1200 to train on and 500 to decide by."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(1700)
    x, y = (data.images / 16).astype(np.float32)[order][..., None], data.target[order]
    return Samples({"picture": x[:1200]}, y[:1200]), Samples({"picture": x[1200:]}, y[1200:])


def _keras_digits() -> Trainable:
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="picture"),
            layers.Conv2D(16, 3, activation="relu", name="conv_1"),
            layers.Conv2D(32, 3, activation="relu", name="conv_2"),
            layers.Flatten(),
            layers.Dense(64, activation="relu", name="dense"),
            layers.Dense(10, activation="softmax", name="digit"),
        ]
    )
    return Trainable("keras", model)


def _torch_digits() -> Trainable:
    import torch
    from torch import nn

    torch.manual_seed(0)

    class Digits(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv_1, self.conv_2 = nn.Conv2d(1, 16, 3), nn.Conv2d(16, 32, 3)
            self.dense, self.digit = nn.Linear(512, 64), nn.Linear(64, 10)

        def forward(self, picture: Any) -> Any:
            x = self.conv_2(self.conv_1(picture.movedim(-1, 1)).relu()).relu().flatten(1)
            return self.digit(self.dense(x).relu())

    return Trainable("torch", Digits(), (torch.zeros(2, 8, 8, 1),))


_STEPS = {
    "gate": Factorize(rank="gate"),
    "gate of convolutions": Decompose(rank="gate"),
    "vbmf": {"form": "tucker", "rank": "vbmf", "layers": ["conv_2"], "training": {"epochs": 1.0}},
    "trained": {"rank": 8, "training": {"epochs": 2.0}},
    "distilled": {"form": "cp", "rank_ratio": 0.5, "distill": True, "training": {"epochs": 2.0}},
}


def _bytes(model: Trainable) -> bytes:
    if model.framework == "keras":
        return b"".join(np.asarray(each).tobytes() for each in model.module.get_weights())
    return b"".join(each.detach().numpy().tobytes() for each in model.module.state_dict().values())


def _step(given: Any) -> Any:
    from msgspec import convert

    if not isinstance(given, dict):
        return given
    return convert(given, Decompose if "form" in given else Factorize, strict=False)


def _compress_digits(framework: str) -> dict[str, Any]:
    """A model trained on the digits, and what each step makes of it: MACs, score, and whether twice the same."""
    import torch

    from edgeward_converters.compress.counting import count
    from edgeward_converters.compress.training import Training, fit, score

    torch.set_num_threads(1)  # tensors this small are faster so, and on a busy machine far faster
    samples, held_back = _digits()
    model = _keras_digits() if framework == "keras" else _torch_digits()
    fit(
        model,
        samples,
        Training(epochs=8, learning_rate=3e-3),
        seed=0,
        progress=lambda what, done: None,
        what="Training",
    )
    before = _bytes(model)
    context = Context(model, samples, held_back, max_drop=0.02)
    found: dict[str, Any] = {"source": (count(model), score(model, held_back, "accuracy"))}
    for name, table in _STEPS.items():
        smaller = _step(table).apply(model, context)
        found[name] = (count(smaller), score(smaller, held_back, "accuracy"))
        if name == "distilled":
            found["again"] = _bytes(smaller) == _bytes(_step(table).apply(model, context))
    found["untouched"] = _bytes(model) == before
    return found


@pytest.mark.parametrize("framework", ["keras", "torch"])
def test_a_trained_model_comes_out_smaller_and_as_good(worker: Worker, framework: str) -> None:
    found = worker.run(_compress_digits, framework)
    assert found.pop("untouched"), "a step leaves the model that it is given, also the gate that tries kernels in it"
    assert found.pop("again"), "the same seed gives the same bytes"
    size, source = found.pop("source")
    assert source > 0.85, "it learned something that could be lost"
    for name, (smaller, score) in found.items():
        assert smaller.parameters < size.parameters, name
        assert smaller.macs < size.macs, name
        assert score >= source - 0.02 - 1e-9, name
    assert found["gate"][0].parameters < 0.5 * size.parameters, "the dense layer is most of it"


def _apply_digits(step: Any, held_back: Any = None) -> None:
    model = _keras_digits()
    step.apply(model, Context(model, held_back=held_back))


def _apply_to_nan() -> None:
    model = _keras_digits()
    model.module.get_layer("dense").kernel.assign(np.full((512, 64), np.nan))
    Factorize().apply(model, Context(model))


def _apply_to_class() -> None:
    import keras

    class Own(keras.Model):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x

    model = Trainable("keras", Own(name="mine"))
    Factorize().apply(model, Context(model))


def test_what_a_model_or_the_data_has_not_is_said_in_a_sentence(worker: Worker) -> None:
    with pytest.raises(
        ConfigError, match=r"no layer 'dens' that the step factorize can replace; there are dense, digit\."
    ):
        worker.run(_apply_digits, Factorize(layers=("dens",)))
    with pytest.raises(ConfigError, match=r"no layer 'dense' that the step decompose can replace; .* conv_1, conv_2\."):
        worker.run(_apply_digits, Decompose(layers=("dense",)))
    with pytest.raises(ConfigError, match="none were held back"):
        worker.run(_apply_digits, Factorize(rank="gate"))
    with pytest.raises(ConfigError, match="factorize needs labelled training data"):
        worker.run(_apply_digits, _step({"training": {"epochs": 1.0}}))
    with pytest.raises(ConversionError, match="The layer 'dense' holds NaN"):
        worker.run(_apply_to_nan)
    with pytest.raises(ConfigError, match="'mine' is of the class Own"):
        worker.run(_apply_to_class)
