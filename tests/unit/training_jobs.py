"""What the tests of training, distillation and quantization-aware fine-tuning do in the worker, where frameworks are.

Both frameworks have the same tiny models: two blobs of pictures or vectors that a dense layer tells apart.
"""

import hashlib
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from edgeward_converters.compress.step import Context, Samples, Trainable
from edgeward_converters.compress.training import FineTune, Hooks, Training, fit, predict, score

QUICK = Training(epochs=4, batch_size=32, learning_rate=2e-2)


class Tuned(Struct, frozen=True):
    before: float
    after: float
    weights: str
    told: float


def vectors(classes: int = 3, count: int = 240) -> Samples:
    """Points around as many centres, with some overlap."""
    generator = np.random.default_rng(0)
    y = np.arange(count) % classes
    centres = generator.normal(0, 2, (classes, 8))
    return Samples({"x": (centres[y] + generator.normal(0, 0.5, (count, 8))).astype(np.float32)}, y)


def pictures(count: int = 240) -> Samples:
    """8 × 8 pictures of a bright bar, upright or lying, as NHWC."""
    generator = np.random.default_rng(0)
    y = np.arange(count) % 2
    x = generator.normal(0, 0.3, (count, 8, 8, 1)).astype(np.float32)
    for index, lying in enumerate(y):
        place = generator.integers(1, 7)
        if lying:
            x[index, place] += 1
        else:
            x[index, :, place] += 1
    return Samples({"x": x}, y)


def dense(framework: str, outputs: int = 3, activation: str | None = "softmax", hidden: int = 16) -> Trainable:
    """8 → hidden → outputs."""
    if framework == "keras":
        import keras

        keras.utils.set_random_seed(0)
        layers = keras.layers
        x = keras.Input((8,), name="x")
        y = layers.Dense(outputs, activation, name="last")(layers.Dense(hidden, "relu", name="first")(x))
        return Trainable("keras", keras.Model(x, y))
    import torch

    _seed_torch()
    ends = {"softmax": [torch.nn.Softmax(1)], "sigmoid": [torch.nn.Sigmoid()]}.get(activation or "", [])
    module = torch.nn.Sequential(torch.nn.Linear(8, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, outputs), *ends)
    return Trainable("torch", module, (torch.zeros(2, 8),))


def convolutional(framework: str) -> Trainable:
    """conv → batch norm → relu → mean → dense, for `pictures`."""
    if framework == "keras":
        import keras

        keras.utils.set_random_seed(0)
        layers = keras.layers
        x = keras.Input((8, 8, 1), name="x")
        y = layers.Conv2D(8, 3, name="conv")(x)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        y = layers.DepthwiseConv2D(3, name="depthwise")(y)
        return Trainable("keras", keras.Model(x, layers.Dense(2, name="last")(layers.GlobalMaxPooling2D()(y))))
    import torch

    _seed_torch()
    nn = torch.nn
    body = [nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.AdaptiveMaxPool2d(1)]
    return Trainable("torch", nn.Sequential(*body, nn.Flatten(), nn.Linear(8, 2)), (torch.zeros(2, 1, 8, 8),))


def shown(samples: Samples, framework: str) -> Samples:
    """Pictures in the framework's layout."""
    if framework == "keras":
        return samples
    return Samples({"x": np.ascontiguousarray(samples.inputs["x"].transpose(0, 3, 1, 2))}, samples.y)


def digest(model: Trainable) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays(model))).hexdigest()


def _seed_torch() -> None:
    """One thread: for models as small as these, several only wait for each other."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)


def arrays(model: Trainable) -> list[NDArray[Any]]:
    if model.framework == "keras":
        return list(model.module.get_weights())
    return [value.numpy() for value in model.module.state_dict().values()]


def context(teacher: Trainable, samples: Samples | None, **more: Any) -> Context:
    return Context(teacher=teacher, training=samples, **more)


def fine_tuned(framework: str, seed: int) -> Tuned:
    model, samples, told = convolutional(framework), shown(pictures(), framework), [0.0]
    before = score(model, samples, "accuracy")
    training = Training(epochs=8, batch_size=32, learning_rate=2e-2, augmentation="flip_and_shift")
    heard = context(model, samples, seed=seed, progress=lambda what, done: told.append(done))
    FineTune(training).apply(model, heard)
    return Tuned(before, score(model, samples, "accuracy"), digest(model), told[-1])


def learnt(framework: str, kind: str) -> tuple[float, float]:
    """Before and after: the share of errors, or the mean squared error."""
    samples = vectors(2 if kind == "sigmoid" else 3)
    shape = {"probabilities": (3, "softmax"), "logits": (3, None), "sigmoid": (1, "sigmoid"), "regression": (2, None)}
    if kind == "regression":
        samples = Samples(samples.inputs, samples.inputs["x"][:, :2] * 2 + 1)
    model = dense(framework, *shape[kind])
    measured = []
    for _ in range(2):
        value = score(model, samples, "mse" if kind == "regression" else "accuracy")
        measured.append(value if kind == "regression" else 1 - value)
        fit(model, samples, QUICK, seed=0, progress=lambda what, done: None, what="")
    return measured[0], measured[1]


def masked(framework: str) -> tuple[list[tuple[str, int, int]], float]:
    """The hooks' calls, and the largest of the weights that a mask keeps at zero."""
    model, calls = dense(framework), []

    def after(index: int, total: int) -> None:
        calls.append(("after", index, total))
        if framework == "keras":
            kernel = model.module.get_layer("first").kernel
            kernel.assign(kernel * (np.arange(16) % 2))
        else:
            model.module[0].weight[::2] = 0

    hooks = Hooks(lambda index, total: calls.append(("before", index, total)), after)
    training = Training(epochs=0.5, batch_size=30)
    fit(model, vectors(), training, seed=0, progress=lambda what, done: None, what="", hooks=hooks)
    weights = arrays(model)[0]
    return calls, float(np.abs(weights[:, ::2] if framework == "keras" else weights[::2]).max())


def pruned(framework: str) -> tuple[int, int, float]:
    """Zeros of the first layer before and after training, and the share of its other weights that moved."""
    model = dense(framework)
    kernel = arrays(model)[0]
    if framework == "keras":
        model.module.get_layer("first").kernel.assign(kernel * (np.arange(16) % 2))
    else:
        kernel[::2] = 0  # the module's own memory
    before = arrays(model)[0].copy()
    fit(model, vectors(), QUICK, seed=0, progress=lambda what, done: None, what="")
    after = arrays(model)[0]
    return int((before == 0).sum()), int((after == 0).sum()), float((after != before)[before != 0].mean())


def order_of_inputs(framework: str) -> list[list[float]]:
    """second − first, given in another order."""
    inputs = {"second": np.array([[3.0], [9.0]], np.float32), "first": np.array([[1.0], [4.0]], np.float32)}
    if framework == "keras":
        import keras

        first, second = keras.Input((1,), name="first"), keras.Input((1,), name="second")
        model = Trainable("keras", keras.Model([first, second], keras.layers.Subtract()([second, first])))
    else:
        import torch

        class Difference(torch.nn.Module):
            def forward(self, first: Any, second: Any) -> Any:
                return second - first

        model = Trainable("torch", Difference(), (torch.zeros(1, 1), torch.zeros(1, 1)))
    return [list(map(float, row)) for row in predict(model, inputs, batch_size=1)[0]]


def diverged(framework: str) -> None:
    """Targets whose squares are no numbers."""
    inputs = vectors().inputs
    samples = Samples(inputs, np.full((240, 3), 1e30, np.float32))
    fit(dense(framework), samples, QUICK, seed=0, progress=lambda what, done: None, what="")


def frozen(framework: str) -> None:
    model = dense(framework)
    if framework == "keras":
        model.module.trainable = False
    else:
        model.module.requires_grad_(False)
    fit(model, vectors(), QUICK, seed=0, progress=lambda what, done: None, what="")
