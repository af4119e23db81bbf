"""What the tests of pruning do in the worker, where frameworks are."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeward_converters.compress.counting import count
from edgeward_converters.compress.pruning import PruneChannels, PruneMagnitude, PruneNM, structure
from edgeward_converters.compress.pruning.kernels import kernels
from edgeward_converters.compress.pruning.sensitivity import Sensitivity, sensitivity
from edgeward_converters.compress.run import duplicate
from edgeward_converters.compress.step import Context, Samples, Trainable
from edgeward_converters.compress.training import FineTune, Training, score

Array = NDArray[Any]
QUICK = Training(epochs=4, batch_size=32, learning_rate=5e-3)


def keras_sliced(
    name: str, folder: Path
) -> tuple[list[Array], list[Array], list[Array], dict[str, list[str]], tuple[int, int], bool]:
    """Outputs of the whole model, with half of all channels silenced, and without them; its groups' layers; its
    parameters, foretold and counted; whether names stay and the file holds what was made."""
    import keras

    from tests.unit.pruning_models_keras import MODELS

    model, generator = MODELS[name](), np.random.default_rng(0)
    for weight in model.weights:
        values = generator.normal(0, 0.5, weight.shape) + (weight.name in ("gamma", "moving_variance"))
        weight.assign(np.abs(values) if weight.name == "moving_variance" else values)
    seen = structure.of(Trainable("keras", model), "l2")
    removed = _half(seen, generator)
    inputs = [_input(generator, tensor.shape, "int" in tensor.dtype) for tensor in model.inputs]
    given = inputs[0] if len(inputs) == 1 else inputs
    small = seen.without(removed).module
    small.save(folder / "small.keras")
    loaded = keras.models.load_model(folder / "small.keras")
    whole, weights = _flat(model(given)), model.get_weights()
    model.set_weights(seen.silenced(removed))
    silenced, sliced = _flat(model(given)), _flat(small(given))
    model.set_weights(weights)
    same = _names(model) == _names(small) and all(map(np.array_equal, sliced, _flat(loaded(given))))
    foretold = seen.cost(removed)
    counted = small.count_params()
    assert foretold.macs <= count(Trainable("keras", small)).macs
    return whole, silenced, sliced, _layers(seen), (foretold.parameters, counted), same


def torch_sliced(name: str) -> tuple[list[Array], list[Array], list[Array], dict[str, list[str]], tuple[int, int]]:
    """The same of a PyTorch module; parameters before and after."""
    import torch

    from tests.unit.pruning_models_torch import MODELS

    torch.manual_seed(0)
    module, examples = MODELS[name]()
    model = Trainable("torch", module.eval(), examples)
    seen = structure.of(model, "l2")
    removed = _half(seen, np.random.default_rng(0))
    small = seen.without(removed)
    with torch.no_grad():
        outputs = [[each.module.eval()(*examples).numpy()] for each in (model, seen.silenced(removed), small)]
    return *outputs, _layers(seen), (count(model).parameters, count(small).parameters)


def _half(seen: Any, generator: Any) -> Any:
    return {group.name: np.sort(generator.choice(group.size, group.size // 2, replace=False)) for group in seen.groups}


def _layers(seen: Any) -> dict[str, list[str]]:
    return {group.name: list(group.layers) for group in seen.groups}


def _input(generator: Any, shape: Any, whole: bool) -> Array:
    size = (3, *shape[1:])
    return generator.integers(0, 50, size) if whole else generator.normal(size=size).astype(np.float32)


def _flat(outputs: Any) -> list[Array]:
    import keras

    return [np.asarray(each) for each in keras.tree.flatten(outputs)]


def _names(model: Any) -> list[str]:
    ends = [tensor.name for tensor in model.inputs] + list(getattr(model, "output_names", []))
    return [layer.name for layer in model.layers] + ends


def samples(count: int, seed: int) -> Samples:
    """Pictures (n, 8, 8, 1) whose class is the brightest quarter."""
    generator = np.random.default_rng(seed)
    x, y = generator.normal(size=(count, 8, 8, 1)).astype(np.float32), generator.integers(0, 4, count)
    for index, label in enumerate(y):
        row, column = divmod(int(label), 2)
        x[index, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 0.7
    return Samples({"x": x}, y)


def network(framework: str) -> Trainable:
    """Two convolutions and two dense layers."""
    if framework == "keras":
        import keras

        keras.utils.set_random_seed(0)
        stack = [
            keras.Input((8, 8, 1), name="x"),
            keras.layers.Conv2D(12, 3, padding="same", name="first"),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Conv2D(12, 3, strides=2, padding="same", activation="relu", name="second"),
            keras.layers.Flatten(),
            keras.layers.Dense(16, activation="relu", name="hidden"),
            keras.layers.Dense(4, name="classes"),
        ]
        return Trainable("keras", keras.Sequential(stack))
    import torch

    from tests.unit.pruning_models_torch import Pictures

    torch.manual_seed(0)
    return Trainable("torch", Pictures(), (torch.zeros(2, 8, 8, 1),))


def _trained(framework: str) -> tuple[Trainable, Context]:
    """A copy of the network, trained, and that as its teacher."""
    context = Context(teacher=_teacher(framework), training=samples(384, 1), held_back=samples(256, 2), seed=3)
    return duplicate(context.teacher), context


@cache
def _teacher(framework: str) -> Trainable:
    model = network(framework)
    return FineTune(QUICK).apply(model, Context(teacher=model, training=samples(384, 1)))


def channels(framework: str, options: dict[str, Any]) -> tuple[float, float, int, int, dict[str, int]]:
    """`prune_channels` on a trained network: accuracy, parameters before and after, and what is left of each layer."""
    model, context = _trained(framework)
    judged, before = samples(512, 4), count(model).parameters
    accuracy = score(model, judged, "accuracy")
    small = PruneChannels(training=QUICK, **options).apply(model, context)
    return accuracy, score(small, judged, "accuracy"), before, count(small).parameters, _outputs(small)


def _outputs(model: Trainable) -> dict[str, int]:
    if model.framework == "keras":
        return {layer.name: layer.output.shape[-1] for layer in model.module.layers if layer.name in LAYERS}
    return {name: getattr(model.module, name).weight.shape[0] for name in LAYERS}


LAYERS = ("first", "second", "hidden", "classes")


def masked(
    framework: str, method: str, options: dict[str, Any]
) -> tuple[float, float, dict[str, list[Array]], list[int]]:
    """A method that sets zeros, on a trained network: accuracy before and after, every kernel and its input axis."""
    model, context = _trained(framework)
    judged = samples(512, 4)
    accuracy = score(model, judged, "accuracy")
    step = {"prune_magnitude": PruneMagnitude, "prune_n_m": PruneNM}[method]
    pruned = step(**{"training": QUICK, **options}).apply(model, context)
    found: dict[str, list[Array]] = {}
    for kernel in kernels(pruned, None, method):
        found.setdefault(kernel.layer, []).append(kernel.read())
    axes = [kernel.input_axis for kernel in kernels(pruned, None, method)]
    return accuracy, score(pruned, judged, "accuracy"), found, axes  # type: ignore[return-value]


def weights_of_two_runs(framework: str) -> bool:
    """Whether all three methods, one after another, give the same bytes twice."""
    found = []
    for _ in range(2):
        model, context = _trained(framework)
        quick = Training(epochs=1, batch_size=32)
        model = PruneChannels(ratio=0.25, rounds=2, training=quick, distill=True).apply(model, context)
        model = PruneMagnitude(training=quick).apply(model, context)
        model = PruneNM(training=quick).apply(model, context)
        found.append(b"".join(kernel.read().tobytes() for kernel in kernels(model, None, "test")))
    return found[0] == found[1]


def scanned(framework: str) -> tuple[tuple[Sensitivity, ...], float, float]:
    """A scan, and the score before and after it."""
    model, context = _trained(framework)
    assert context.held_back is not None
    before = score(model, context.held_back, "accuracy")
    found = sensitivity(model, context.held_back)
    return found, before, score(model, context.held_back, "accuracy")


def recurrent_kernels() -> dict[str, int]:
    """How many kernels pruning element by element finds in each layer of a recurrent Keras model."""
    from tests.unit.pruning_models_keras import recurrent

    found: dict[str, int] = {}
    for kernel in kernels(Trainable("keras", recurrent()), None, "test"):
        name = kernel.layer.rstrip("_0123456789")
        found[name] = found.get(name, 0) + 1
    return found


def applied(step: Any, *, training: bool = True, subclass: bool = False) -> None:
    """A step on an untrained Keras network, for its errors."""
    import keras

    model = network("keras")
    if subclass:

        class Own(keras.Model):
            pass

        model = Trainable("keras", Own())
    step.apply(model, Context(teacher=model, training=samples(64, 1) if training else None))


def resnet8(folder: Path) -> tuple[list[Array], dict[str, list[str]], tuple[int, int], tuple[int, int], float]:
    """MLPerf's ResNet8 with half its channels silenced, and without them: outputs for real pictures; its groups;
    parameters and MACs; accuracy of the pruned model after a short training."""
    import keras

    model = keras.models.load_model(folder / "mlperf_tiny" / "pretrainedResnet.h5", compile=False)
    seen = structure.of(Trainable("keras", model), "l1")
    removed = _half(seen, np.random.default_rng(0))
    small = seen.without(removed)
    with np.load(folder / "cifar10_train_10k.npz") as split:
        x, y = split["x"], split["y"]
    weights = model.get_weights()
    model.set_weights(seen.silenced(removed))
    outputs = [each.predict(x[:64].astype(np.float32), verbose=0) for each in (model, small.module)]
    model.set_weights(weights)
    sizes = [count(each) for each in (Trainable("keras", model), small)]
    source = Trainable("keras", model)
    context = Context(teacher=source, training=Samples({"x": x[:2000]}, y[:2000]))
    tuned = PruneChannels(ratio=0.25, multiple=4, rounds=1, training=Training(epochs=2)).apply(source, context)
    accuracy = score(tuned, Samples({"x": x[-1000:]}, y[-1000:]), "accuracy")
    parameters, macs = ((sizes[0].parameters, sizes[1].parameters), (sizes[0].macs, sizes[1].macs))
    return outputs, _layers(seen), parameters, macs, accuracy
