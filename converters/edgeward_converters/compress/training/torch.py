"""The loop for PyTorch modules.

A module of an exported program cannot be switched to training: it is trained as it computes in inference, BatchNorm
as it stands and without dropout.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils import _pytree as pytree

from edgeward_converters.compress.step import Samples, Trainable
from edgeward_converters.compress.training import Hooks, Loss, Training, batches, check_loss, check_trainable, losses
from edgeward_converters.compress.training.throttle import throttled
from edgeward_converters.data import Arrays

_PROBED = 64
_SMALLEST_PROBABILITY = 1e-7


def fit(
    model: Trainable,
    samples: Samples,
    training: Training,
    seed: int,
    progress: Callable[[float], None],
    loss: Loss | None,
    teacher: Trainable | None,
    hooks: Hooks,
) -> None:
    """See `training.fit`."""
    inputs = batches.ordered(samples.inputs, input_names(model, samples.inputs))
    batches.check_pictures(inputs, training.augmentation)
    kind, y = _kind_and_targets(model, samples, needed=loss is None)
    chosen_loss = loss if loss is not None else _loss_of(kind)
    total = batches.count(len(inputs[0]), training.batch_size, training.epochs)
    generator = np.random.default_rng([seed, 1])
    tell = throttled(progress)
    with _deterministic(seed), _in_training(model.module):
        step = _step(model, training, total, chosen_loss, teacher)
        for index, chosen in enumerate(batches.indices(len(inputs[0]), training.batch_size, total, seed)):
            if hooks.before_batch is not None:
                hooks.before_batch(index, total)
            batch = [
                batches.augmented(array[chosen], training.augmentation, generator, channels_first=True)
                for array in inputs
            ]
            batch = batch if hooks.change_inputs is None else hooks.change_inputs(batch)
            check_loss(step(_tensors(model, batch), None if y is None else torch.from_numpy(y[chosen])), index)
            if hooks.after_batch is not None:
                with torch.no_grad():
                    hooks.after_batch(index, total)
            tell((index + 1) / total)


def predict(model: Trainable, inputs: Arrays, batch_size: int) -> list[NDArray[Any]]:
    """See `training.predict`."""
    arrays = batches.ordered(inputs, input_names(model, inputs))
    parts = []
    with in_inference(model.module), torch.no_grad():
        for start in range(0, len(arrays[0]), batch_size):
            batch = _tensors(model, [array[start : start + batch_size] for array in arrays])
            parts.append([output.numpy() for output in pytree.tree_leaves(model.module(*batch))])
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def input_names(model: Trainable, inputs: Arrays) -> list[str]:
    """The names of forward's arguments that take tensors, in its order."""
    count = len(inputs) if model.examples is None else len(model.examples)
    parameters = inspect.signature(model.module.forward).parameters.values()
    names = [each.name for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    return names[:count] if len(names) >= count else list(inputs)


@contextmanager
def in_inference(module: Any) -> Iterator[None]:
    """Inference mode, afterwards each sub-module as it was."""
    before = {each: each.training for each in module.modules()}
    _switch(module, False)
    try:
        yield
    finally:
        for each, training in before.items():
            each.training = training


def _kind_and_targets(model: Trainable, samples: Samples, *, needed: bool) -> tuple[losses.Kind, NDArray[Any] | None]:
    """What loss outputs and labels call for, and the labels as losses take them; none need be there for one's own."""
    if samples.y is None and not needed:
        return "mean_squared_error", None
    y = losses.labels(samples.y)
    outputs = predict(model, {name: array[:_PROBED] for name, array in samples.inputs.items()}, _PROBED)[0]
    kind = losses.kind(outputs, y)
    return kind, losses.targets(kind, y, outputs)


def _loss_of(kind: losses.Kind) -> Loss:
    functional = torch.nn.functional
    if kind == "binary":
        return lambda outputs, targets, _: functional.binary_cross_entropy(_inside(_first(outputs)), targets)
    if kind == "mean_squared_error":
        return lambda outputs, targets, _: functional.mse_loss(_first(outputs), targets)
    if kind == "cross_entropy_of_logits":
        return lambda outputs, targets, _: functional.cross_entropy(_first(outputs), targets)
    return lambda outputs, targets, _: functional.nll_loss(_inside(_first(outputs)).log(), targets)


def _inside(probabilities: Any) -> Any:
    return probabilities.clamp(_SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)


def _step(
    model: Trainable, training: Training, total: int, loss: Loss, teacher: Trainable | None
) -> Callable[[list[Any], Any], float]:
    """One update as a function of inputs and targets, which gives the loss."""
    parameters = [each for each in model.module.parameters() if each.requires_grad]
    check_trainable(parameters)
    masks = [_mask(batches.kept(each.detach().numpy())) for each in parameters]
    optimizer = torch.optim.Adam(parameters, lr=training.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)

    def step(inputs: list[Any], targets: Any) -> float:
        taught = None
        if teacher is not None:
            with in_inference(teacher.module), torch.no_grad():
                taught = _one_or_list(teacher.module(*inputs))
        optimizer.zero_grad(set_to_none=True)
        value = loss(_one_or_list(model.module(*inputs)), targets, taught)
        value.backward()
        for parameter, mask in zip(parameters, masks, strict=True):
            if mask is not None and parameter.grad is not None:
                parameter.grad.mul_(mask)  # without a gradient Adam moves nothing
        optimizer.step()
        schedule.step()
        return float(value.detach())

    return step


def _mask(kept: NDArray[np.bool_] | None) -> Any:
    return None if kept is None else torch.from_numpy(kept)


def _tensors(model: Trainable, arrays: list[NDArray[Any]]) -> list[Any]:
    """One batch in the dtypes of the model's examples; without those floats as float32, and integers as they are."""
    wanted = [each.dtype for each in model.examples] if model.examples is not None else [None] * len(arrays)
    tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]
    return [
        tensor.to(dtype if dtype is not None else torch.float32 if tensor.is_floating_point() else tensor.dtype)
        for tensor, dtype in zip(tensors, wanted, strict=True)
    ]


def _one_or_list(outputs: Any) -> Any:
    leaves = pytree.tree_leaves(outputs)
    return leaves[0] if len(leaves) == 1 else leaves


def _first(outputs: Any) -> Any:
    return outputs[0] if isinstance(outputs, list) else outputs


def _switch(module: Any, training: bool) -> None:
    try:
        module.train(training)
    except NotImplementedError:  # an exported program's module
        for each in module.modules():
            each.training = training


@contextmanager
def _in_training(module: Any) -> Iterator[None]:
    """Training mode; afterwards inference."""
    _switch(module, True)
    try:
        yield
    finally:
        _switch(module, False)


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """Seeded and with deterministic algorithms only; afterwards PyTorch's own generator and choice as they were."""
    before = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)
