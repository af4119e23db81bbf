"""A Keras model's graph, walked once: which channels are coupled, and where each lies in the weights."""

from typing import Any

import numpy as np
from msgspec import Struct

from edgeward_converters.compress.pruning.coupling import Channels, Coupling
from edgeward_converters.compress.pruning.operations_keras import Call, passed
from edgeward_converters.compress.pruning.rules_keras import Layer, rule
from edgeward_runtimes.errors import ConversionError


class Graph:
    """What the walk found.

    Attributes:
        coupling: The numbers of all channels.
        layers: Layers that are understood, by the id of the Keras layer.
        names: Of every layer with weights, by its id; one inside another model is called `outer/inner`.
        work: By a kernel's id, for how many positions of one sample it is multiplied.
        reshaped: Reshape layers by id, with the channels of their last axis.
        entries: By the id of a whole model, the channels of its inputs.
        left: Ids of layers that are called in a way that is not understood; they stay as they are.
    """

    def __init__(self) -> None:
        self.coupling = Coupling()
        self.layers: dict[int, Layer] = {}
        self.names: dict[int, str] = {}
        self.work: dict[int, int] = {}
        self.reshaped: dict[int, Channels] = {}
        self.entries: dict[int, list[Channels]] = {}
        self.left: set[int] = set()


def walk(model: Any) -> Graph:
    """Walk a functional or sequential model. Raises ConversionError for one that shows no graph."""
    graph = Graph()
    inputs = [graph.coupling.pinned(_last(tensor.shape)) for tensor in _functional(model).inputs]
    for channels in _through(graph, model, inputs, ""):
        graph.coupling.pin(channels)
    return graph


def _functional(model: Any) -> Any:
    """The functional model that a model is, or that a Sequential keeps. Raises ConversionError."""
    import keras

    found = getattr(model, "_functional", None) if isinstance(model, keras.Sequential) else model
    if not isinstance(found, keras.src.models.functional.Functional):
        raise ConversionError(
            f"The model {model.name!r} is a {type(model).__name__}, which shows no graph of layers to prune channels "
            "in; build it as keras.Model(inputs, outputs) or keras.Sequential."
        )
    return found


def _through(graph: Graph, model: Any, inputs: list[Channels], within: str) -> list[Channels]:
    """Follow one model from its inputs' channels to its outputs'."""
    functional = _functional(model)
    for channels, first in zip(inputs, graph.entries.setdefault(id(model), inputs), strict=True):
        graph.coupling.unite(channels, first)
    known = {id(tensor): channels for tensor, channels in zip(functional.inputs, inputs, strict=True)}
    nodes = functional._nodes_by_depth
    for depth in sorted(nodes, reverse=True):
        for node in nodes[depth]:
            if node.is_input:
                continue
            given = _called(graph, node, [known[id(tensor)] for tensor in _tensors(node)], within)
            known.update(zip(map(id, node.outputs), given, strict=True))
    return [known[id(tensor)] for tensor in functional.outputs]


def _tensors(node: Any) -> list[Any]:
    """What an operation is given, but for masks: those tell positions apart, never channels."""
    masks = {id(mask) for mask in _flat(node.arguments.kwargs.get("mask"))}
    return [tensor for tensor in node.input_tensors if id(tensor) not in masks]


def _flat(structure: Any) -> list[Any]:
    import keras

    return list(keras.tree.flatten(structure))


def _called(graph: Graph, node: Any, taken: list[Channels], within: str) -> list[Channels]:
    """The numbers of the outputs of one call; whatever is not understood pins what it touches."""
    import keras

    operation = node.operation
    name = f"{within}{operation.name}"
    if isinstance(operation, keras.Sequential | keras.src.models.functional.Functional):
        if len(taken) == len(operation.inputs):
            return _through(graph, operation, taken, f"{name}/")
    elif isinstance(operation, keras.Layer) and operation.weights:
        graph.names[id(operation)] = name
    given = _understood(graph, node, taken)
    if given is not None and [len(given)] == [_last(tensor.shape) for tensor in node.outputs]:
        return [given]
    _leave(graph, operation)
    for channels in taken:
        graph.coupling.pin(channels)
    return [graph.coupling.pinned(_last(tensor.shape)) for tensor in node.outputs]


def _leave(graph: Graph, operation: Any) -> None:
    """A layer, with all inside it, stays as it is, however else it is called."""
    import keras

    for layer in operation._flatten_layers() if isinstance(operation, keras.Layer) else ():
        graph.left.add(id(layer))
        if id(layer) in graph.layers:
            graph.coupling.pin(graph.layers[id(layer)].takes)
            graph.coupling.pin(graph.layers[id(layer)].gives)


def _understood(graph: Graph, node: Any, taken: list[Channels]) -> Channels | None:
    operation = node.operation
    if rule(operation) is not None:
        return _weighted(graph, node, taken)
    shapes = tuple(tuple(tensor.shape) for tensor in _tensors(node))
    arguments = tuple(_flat((node.arguments.args, node.arguments.kwargs)))
    call = Call(operation, arguments, tuple(taken), shapes, tuple(node.outputs[0].shape))
    given = passed(call, graph.coupling)
    if given is not None and type(operation).__name__ == "Reshape":
        graph.reshaped[id(operation)] = given
    return given


def _weighted(graph: Graph, node: Any, taken: list[Channels]) -> Channels | None:
    """A layer with a rule; called again, it couples what it was given both times."""
    layer, make = node.operation, rule(node.operation)
    if len(taken) != 1 or make is None or id(layer) in graph.left:
        return None
    first = graph.layers.get(id(layer))
    if first is None:
        found = make(layer, taken[0], graph.coupling)
        if found is None or not all(axis.variable.shape[axis.axis] == len(axis.channels) for axis in found.axes):
            return None
        graph.layers[id(layer)] = first = found
    elif len(first.takes) == len(taken[0]):
        graph.coupling.unite(first.takes, taken[0])
    else:
        return None
    positions = _positions(node)
    for kernel in first.kernels:
        graph.work[id(kernel)] = graph.work.get(id(kernel), 0) + positions
    return first.gives


def _positions(node: Any) -> int:
    """How often a kernel is applied to one sample: once for each position of the larger side of the call."""
    recurrent = any(hasattr(node.operation, cell) for cell in ("cell", "forward_layer"))
    shape = _tensors(node)[0].shape if recurrent else node.outputs[0].shape
    if type(node.operation).__name__.endswith("Transpose"):
        shape = _tensors(node)[0].shape
    return int(np.prod([size or 1 for size in shape[1:-1]]))


def _last(shape: tuple[int | None, ...]) -> int:
    """The number of channels, 0 where there are none or their number is open."""
    return (shape[-1] or 0) if len(shape) > 1 else 0


class Element(Struct, frozen=True):
    """Channels that are one and may go: the number that stands for them, and the layers that make them."""

    root: int
    layers: tuple[str, ...]


def elements(graph: Graph) -> list[Element]:
    """Every element that may go, in the order of the graph."""
    roots, free = graph.coupling.elements()
    makers: dict[int, dict[str, None]] = {}
    for key, layer in graph.layers.items():
        if not layer.sizes:
            continue
        for root in dict.fromkeys(roots[layer.gives].tolist()):
            if free[root]:
                makers.setdefault(root, {})[graph.names[key]] = None
    return [Element(root, tuple(layers)) for root, layers in makers.items()]
