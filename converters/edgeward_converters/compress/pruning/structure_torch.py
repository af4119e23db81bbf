"""Structured pruning of PyTorch modules, on torch-pruning's dependency graph (Fang et al., DepGraph, 2023).

A group is used only when it is proved on the module itself: without some of its channels the module must answer as it
does with zeros where those are read. What fails that, or fails to run, such as sizes written into `forward`, stays.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch_pruning
from numpy.typing import NDArray
from torch.utils import _pytree as pytree

from edgeward_converters.compress.counting import count
from edgeward_converters.compress.pruning.structure import Cost, Criterion, Removed, named_groups
from edgeward_converters.compress.step import Trainable
from edgeward_runtimes.errors import ConversionError, one_line

_ROOTS = (torch.nn.modules.conv._ConvNd, torch.nn.Linear)
_TOLERANCE = 1e-3
_importance = torch_pruning.pruner.importance


def structure(model: Trainable, criterion: Criterion) -> "TorchStructure":
    """See a PyTorch module for pruning. Raises ConversionError when it cannot be traced."""
    return TorchStructure(model, criterion)


class TorchStructure:
    """A PyTorch module, seen for pruning; see `structure.Structure`."""

    def __init__(self, model: Trainable, criterion: Criterion) -> None:
        self._model = model
        self._sizes: dict[bytes, Cost] = {}
        traced = _Traced(model)
        self.names = tuple(name for name, each in model.module.named_modules() if name and [*each.parameters(False)])
        groups = {root: group for root, group in traced.groups() if len(group[0].idxs) > 1}
        found = {root: (traced.layers(groups[root]), _scores(groups[root], criterion)) for root in _safe(model, groups)}
        self.groups = named_groups(found.values())
        self._roots = dict(zip([group.name for group in self.groups], found, strict=True))

    def cost(self, removed: Removed) -> Cost:
        """The size of the module without these."""
        key = b"".join(name.encode() + indexes.tobytes() for name, indexes in sorted(removed.items()))
        if key not in self._sizes:
            size = count(self.without(removed))
            self._sizes[key] = Cost(size.parameters, size.macs)
        return self._sizes[key]

    def without(self, removed: Removed) -> Trainable:
        """A smaller module without these; the one it is made of stays as it is."""
        return _smaller(self._model, {self._roots[name]: indexes.tolist() for name, indexes in removed.items()})

    def preview(self, removed: Removed) -> Trainable:
        """The smaller module: a copy is soon made."""
        return self.without(removed)

    def silenced(self, removed: Removed) -> Trainable:
        """A copy with zeros wherever these would be read: what is left computes the same without them."""
        return _silenced(self._model, {self._roots[name]: indexes.tolist() for name, indexes in removed.items()})


class _Traced:
    """A copy of a module with its dependency graph."""

    def __init__(self, model: Trainable) -> None:
        self.module = copy.deepcopy(model.module).eval()
        for parameter in self.module.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        self._names = {each: name for name, each in self.module.named_modules()}
        try:
            with torch.enable_grad():
                self._graph = torch_pruning.DependencyGraph().build_dependency(
                    self.module, example_inputs=model.examples, verbose=False
                )
        except Exception as error:  # the user's forward and torch-pruning raise what they like
            raise ConversionError(
                f"The dependencies of {type(model.module).__name__}'s channels cannot be traced: {one_line(error)}"
            ) from error

    def groups(self) -> Iterator[tuple[str, Any]]:
        """Every group by the name of the layer that it is found from, but for those that have rules of their own."""
        for group in self._graph.get_all_groups(root_module_types=_ROOTS):
            if not any(_is_special(dependency.target.module) for dependency, _ in group):
                yield self._names[group[0].dep.target.module], group

    def group(self, root: str, indexes: list[int]) -> Any:
        """The group of these channels."""
        layer = self.module.get_submodule(root)
        pruner = self._graph.get_pruner_of_module(layer)
        return self._graph.get_pruning_group(layer, pruner.prune_out_channels, indexes)

    def layers(self, group: Any) -> tuple[str, ...]:
        """Names of the layers whose output channels a group has, in the module's order."""
        made = {
            dependency.target.module
            for dependency, _ in group
            if self._graph.is_out_channel_pruning_fn(dependency.handler)
        }
        return tuple(name for each, name in self._names.items() if each in made and isinstance(each, _ROOTS))


def _is_special(layer: Any) -> bool:
    """Grouped convolutions lose channels only evenly, and attention only whole heads."""
    grouped = isinstance(layer, torch.nn.modules.conv._ConvNd) and 1 < layer.groups < layer.in_channels
    return grouped or isinstance(layer, torch.nn.MultiheadAttention)


def _smaller(model: Trainable, removed: dict[str, list[int]]) -> Trainable:
    traced = _Traced(model)
    for root, indexes in removed.items():
        traced.group(root, indexes).prune()
    trained = {name: parameter.requires_grad for name, parameter in model.module.named_parameters()}
    for name, parameter in traced.module.named_parameters():
        parameter.requires_grad_(trained[name])
        parameter.grad = None
    return Trainable("torch", traced.module, model.examples)


def _silenced(model: Trainable, removed: dict[str, list[int]]) -> Trainable:
    traced = _Traced(model)
    with torch.no_grad():
        for root, indexes in removed.items():
            for dependency, places in traced.group(root, indexes):
                _silence(dependency.target.module, dependency.handler.__name__, places)
    return Trainable("torch", traced.module, model.examples)


def _silence(layer: Any, handler: str, places: list[int]) -> None:
    if handler != "prune_in_channels":
        return
    if isinstance(layer, torch.nn.LSTM):
        for name, weight in layer.named_parameters():
            if name.startswith("weight_ih_l0"):
                weight[:, places] = 0
    elif isinstance(layer, _ROOTS) and getattr(layer, "groups", 1) == 1:
        transposed = getattr(layer, "transposed", False)
        layer.weight[(places,) if transposed else (slice(None), places)] = 0


def _safe(model: Trainable, groups: Mapping[str, Any]) -> list[str]:
    """The groups that are proved: all at once where that works, else each by itself."""
    halves = {root: list(range(0, len(group[0].idxs), 2)) for root, group in groups.items()}
    twin = _random(model)
    if _proved(twin, halves):
        return list(halves)
    return [root for root, indexes in halves.items() if _proved(twin, {root: indexes})]


def _random(model: Trainable) -> Trainable:
    """The module with random weights and inputs: what answers zero, as trained ones may, would prove nothing."""
    generator = torch.Generator().manual_seed(0)
    module = copy.deepcopy(model.module)
    with torch.no_grad():
        for parameter in filter(torch.is_floating_point, module.parameters()):
            spread = (parameter.numel() / max(parameter.shape[0], 1)) ** -0.5 if parameter.ndim > 1 else 0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread + (parameter.ndim < 2))
        for each in module.modules():
            if isinstance(each, torch.nn.modules.batchnorm._BatchNorm):
                each.reset_running_stats()
    examples = tuple(
        torch.randn(each.shape, generator=generator, dtype=each.dtype) if torch.is_floating_point(each) else each
        for each in model.examples or ()
    )
    return Trainable("torch", module, examples)


def _proved(model: Trainable, removed: dict[str, list[int]]) -> bool:
    """Whether the module without these channels answers as with zeros where they are read."""
    try:
        expected, came = (_answers(make(model, removed)) for make in (_silenced, _smaller))
    except Exception:  # sizes written into forward fail in many ways
        return False
    return len(expected) == len(came) and all(
        one.shape == other.shape and _close(one, other) for one, other in zip(expected, came, strict=True)
    )


def _close(one: Any, other: Any) -> bool:
    scale = float(one.abs().max()) if one.numel() else 0.0
    return bool(torch.allclose(one, other, rtol=_TOLERANCE, atol=_TOLERANCE * max(scale, 1e-6)))


def _answers(model: Trainable) -> list[Any]:
    with torch.no_grad():
        return [each.double() for each in pytree.tree_leaves(model.module.eval()(*(model.examples or ())))]


def _scores(group: Any, criterion: Criterion) -> NDArray[np.float64]:
    """How much each element matters; a group without batch normalization is judged by its weights."""
    by_weights = _importance.GroupMagnitudeImportance(p=2 if criterion == "l2" else 1, bias=False)
    scores = _importance.BNScaleImportance()(group) if criterion == "bn_scale" else by_weights(group)
    if scores is None:
        scores = by_weights(group)
    found: NDArray[np.float64] = scores.detach().double().numpy()
    return found
