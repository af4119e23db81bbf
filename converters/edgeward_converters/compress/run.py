"""A recipe's steps, one after another, on a live model, and what each of them left. Runs in the worker.

The training data is split once, by the seed: most of it to train on, the rest for steps to decide by. The evaluation
data measures each stage and is shown to no step.
"""

import copy
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from edgeward_converters import data, worker_progress
from edgeward_converters.compress.methods import AnyStep
from edgeward_converters.compress.step import Context, Samples, Trainable
from edgeward_converters.data import Arrays, Labelled
from edgeward_converters.report import StageRow
from edgeward_converters.sources.recognize import Given
from edgeward_runtimes.errors import ConfigError
from edgeward_runtimes.manifest import Tensor

_HELD_BACK_SHARE, _HELD_BACK_MOST = 0.15, 2000


class Told(Struct, frozen=True):
    """How far a step is: what it does, and how much of that is done, 0 to 1."""

    method: str
    what: str
    done: float


class Material(Struct, frozen=True):
    """The data of one run; arrays by the names of the model's inputs, in their order."""

    training: Labelled | None = None
    unlabelled: Arrays | None = None
    evaluation: Labelled | None = None
    metric: str = "accuracy"
    max_drop: float = 0.01
    seed: int = 0


class Compressed(Struct, frozen=True):
    """What a run gives: a file that `sources` reads as they do the source, and the stages on the way."""

    given: Given
    stages: tuple[StageRow, ...]


def compress_file(given: Given, steps: Sequence[AnyStep], material: Material, folder: Path) -> Compressed:
    """Load a source, take the steps, and save what they leave into `folder`, which is made. Raises ConfigError."""
    folder.mkdir(parents=True, exist_ok=True)
    model, stages = compress_live(loaded(given), steps, material, worker_progress.tell)
    return Compressed(saved(model, given, folder), stages)


def compress_live(
    model: Trainable, steps: Sequence[AnyStep], material: Material, tell: Callable[[Told], None]
) -> tuple[Trainable, tuple[StageRow, ...]]:
    """Take the steps on a live model, which may be changed; what is left, and every stage."""
    named = _Named(input_names(model))
    training, held_back = split(material.training, material.seed)
    context = Context(
        teacher=duplicate(model),
        training=named.samples(training),
        held_back=named.samples(held_back),
        unlabelled=None if material.unlabelled is None else named.arrays(material.unlabelled),
        metric=material.metric,
        max_drop=material.max_drop,
        seed=material.seed,
    )
    measured_on = named.samples(material.evaluation) or context.held_back
    stages = [_stage("source", model, measured_on, material.metric)]
    for step in steps:
        method = step.__struct_config__.tag
        model = step.apply(model, _heard(context, method, tell))
        stages.append(_stage(method, model, measured_on, material.metric))
    return model, tuple(stages)


def loaded(given: Given) -> Trainable:
    """The live model of a source. Raises ConfigError for a kind that cannot be trained any more."""
    if given.kind == "keras":
        from edgeward_converters.sources import keras

        return Trainable("keras", keras.load(given.path))
    if given.function is not None:
        from edgeward_converters.sources import torch

        return of_pair(torch.imported(given.function))
    raise ConfigError(
        f"A recipe's steps need a model that can still be trained, and {given.named} is none (it is {given.kind}). "
        "Give the .keras file, or for PyTorch module:function."
    )


def of_pair(given: Any) -> Trainable:
    """PyTorch's `(module, example_inputs)`. Raises ConfigError."""
    import torch

    if not (isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], torch.nn.Module)):
        raise ConfigError(
            "A recipe's steps need (module, example_inputs) of PyTorch, with a torch.nn.Module that can still be "
            f"trained; a {type(given).__name__} came."
        )
    module, examples = given
    if isinstance(examples, dict):
        parameters = inspect.signature(module.forward).parameters
        examples = tuple(examples[name] for name in parameters if name in examples)
    return Trainable("torch", module, tuple(examples) if isinstance(examples, tuple | list) else (examples,))


def saved(model: Trainable, given: Given, folder: Path) -> Given:
    """Save a live model as a source of its own, called as the one that it was made of."""
    if model.framework == "keras":
        path = folder / f"{given.path.stem}.keras"
        model.module.save(path)
        return Given("keras", path)
    from edgeward_converters.sources import torch

    return Given("torch", torch.save((model.module.eval(), model.examples), folder))


def duplicate(model: Trainable) -> Trainable:
    """A copy with weights of its own."""
    if model.framework == "torch":
        return Trainable("torch", copy.deepcopy(model.module), model.examples)
    import keras

    twin = keras.models.clone_model(model.module)
    twin.set_weights(model.module.get_weights())
    return Trainable("keras", twin)


def input_names(model: Trainable) -> list[str]:
    """The names of the model's inputs, in its order."""
    if model.framework == "keras":
        return [tensor.name for tensor in model.module.inputs]
    return list(inspect.signature(model.module.forward).parameters)[: len(model.examples or ())]


def read_data(model: Trainable, calibration: data.Calibration | None, training: data.Evaluation | None) -> data.Data:
    """Read what a live model is to be compressed with. Raises InputError."""
    if model.framework == "keras":
        shapes = [(tensor.name, tensor.shape, str(tensor.dtype)) for tensor in model.module.inputs]
    else:
        names = zip(input_names(model), model.examples or (), strict=True)
        shapes = [(name, example.shape, str(example.dtype).removeprefix("torch.")) for name, example in names]
    inputs = tuple(Tensor(name, (None, *map(_size, shape[1:])), dtype) for name, shape, dtype in shapes)
    return data.read(inputs, calibration, None, training)


def _size(size: int | None) -> int | None:
    return None if size is None else int(size)


class _Named:
    """Arrays under the live model's own names; a bundle's are made fit for every format, in the same order."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def arrays(self, arrays: Arrays) -> Arrays:
        return dict(zip(self._names, arrays.values(), strict=True))

    def samples(self, labelled: Labelled | None) -> Samples | None:
        return None if labelled is None else Samples(self.arrays(labelled.inputs), labelled.y)


def _heard(context: Context, method: str, tell: Callable[[Told], None]) -> Context:
    """The context with a progress that says which step it is."""
    return replace(context, progress=lambda what, done: tell(Told(method, what, done)))


def split(training: Labelled | None, seed: int) -> tuple[Labelled | None, Labelled | None]:
    """Most of the samples to train on, in their order, and the rest to decide by."""
    if training is None:
        return None, None
    count = len(training.y)
    held_back = min(_HELD_BACK_MOST, round(count * _HELD_BACK_SHARE))
    if held_back == 0:
        return training, None
    order = np.random.default_rng(seed).permutation(count)
    return _part(training, np.sort(order[held_back:])), _part(training, np.sort(order[:held_back]))


def _part(samples: Labelled, chosen: Any) -> Labelled:
    return Labelled({name: array[chosen] for name, array in samples.inputs.items()}, samples.y[chosen])


def _stage(method: str, model: Trainable, samples: Samples | None, metric: str) -> StageRow:
    from edgeward_converters.compress.counting import count
    from edgeward_converters.compress.training import score

    size = count(model)
    return StageRow(method, size.parameters, size.macs, None if samples is None else score(model, samples, metric))
