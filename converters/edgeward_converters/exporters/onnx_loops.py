"""ONNX loops written out: one copy of the body after another, for engines and converters that cannot run `Loop`.

Exporters turn a recurrent layer of Keras into a Loop that counts to the length of the sequence. Where the number of
turns depends on constants alone, a graph without the loop computes the same.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgeward_converters.sources.onnx import rename_node

Array = NDArray[Any]
# More nodes than this are no graph that a converter gets through.
_MOST_NODES = 50_000


def has_loops(model: onnx.ModelProto) -> bool:
    """Whether any operator of the main graph is a Loop."""
    return any(node.op_type == "Loop" for node in model.graph.node)


def unrolled(path: Path, folder: Path) -> Path:
    """The model with its countable loops written out, in a file of `folder`; the same path where it has none."""
    model = onnx.load(str(path))
    if not has_loops(model):
        return path
    graph = model.graph
    nodes = list(graph.node)
    del graph.node[:]
    for number, node in enumerate(nodes):
        turns = _turns(node, graph, nodes) if node.op_type == "Loop" else None
        if turns is None:
            graph.node.append(node)
        else:
            _Unrolling(graph, node, f"loop_{number}").write(turns)
    written = folder / f"{path.stem}.unrolled.onnx"
    onnx.save(model, str(written))
    return written


class _Unrolling:
    """Writes one loop out into the graph around it."""

    def __init__(self, graph: Any, loop: Any, prefix: str) -> None:
        self._graph, self._loop, self._prefix = graph, loop, prefix
        self._body = _body(loop)
        self._go_on = self._constant(f"{prefix}/go_on", np.array(True))
        self._shared = {each.name: f"{prefix}/{each.name}" for each in self._body.initializer}
        for initializer in self._body.initializer:
            copied = graph.initializer.add()
            copied.CopyFrom(initializer)
            copied.name = self._shared[initializer.name]

    def write(self, turns: int) -> None:
        """Append the nodes of all turns, and what gathers their results."""
        carried = list(self._loop.input[2:])
        kept: list[list[str]] = []
        for turn in range(turns):
            outputs = self._turn(turn, carried)
            carried = outputs[1 : 1 + len(carried)]
            kept.append(outputs[1 + len(carried) :])
        for name, final in zip(self._loop.output, carried, strict=False):
            if name:
                self._graph.node.append(helper.make_node("Identity", [final], [name]))
        for place, name in enumerate(self._loop.output[len(carried) :]):
            if name:
                self._gather(name, [each[place] for each in kept])

    def _turn(self, turn: int, carried: list[str]) -> list[str]:
        """One copy of the body; the names of its outputs."""
        own = f"{self._prefix}/{turn}"
        names = dict(self._shared)
        given = [self._constant(f"{own}/turn", np.array(turn, np.int64)), self._go_on]
        names |= {value.name: name for value, name in zip(self._body.input, [*given, *carried], strict=True)}
        for node in self._body.node:
            names |= {output: f"{own}/{output}" for output in node.output if output}
            copied = self._graph.node.add()
            copied.CopyFrom(node)
            copied.name = f"{own}/{node.name}" if node.name else ""
            rename_node(copied, names)
        return [names.get(value.name, value.name) for value in self._body.output]

    def _gather(self, name: str, parts: list[str]) -> None:
        """What each turn gave, stacked along a new first axis."""
        axis = self._constant(f"{self._prefix}/{name}/axis", np.array([0], np.int64))
        stacked = [f"{part}/of/{name}/{turn}" for turn, part in enumerate(parts)]
        for part, one in zip(parts, stacked, strict=True):
            self._graph.node.append(helper.make_node("Unsqueeze", [part, axis], [one]))
        self._graph.node.append(helper.make_node("Concat", stacked, [name], axis=0))

    def _constant(self, name: str, value: Array) -> str:
        self._graph.initializer.append(numpy_helper.from_array(value, name))
        return name


def _body(loop: Any) -> Any:
    return next(attribute.g for attribute in loop.attribute if attribute.name == "body")


def _turns(loop: Any, graph: Any, nodes: Iterable[Any]) -> int | None:
    """How often the loop turns, or None where that depends on more than constants, or is too often."""
    known = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    known |= {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t)
        for node in nodes
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    }
    limit = int(known[loop.input[0]]) if loop.input[0] in known else None if loop.input[0] else np.inf
    body = _body(loop)
    most = _MOST_NODES // max(1, len(body.node))
    counting = _counting(loop, body, known)
    if limit is None or counting is None:
        return None
    for turns, goes_on in enumerate(_conditions(loop, body, counting, known), 1):
        if not goes_on or turns >= limit:
            return turns
        if turns > most:
            break
    return None


def _counting(loop: Any, body: Any, known: Mapping[str, Array]) -> list[Any] | None:
    """The body's nodes that decide whether it goes on, in order; None where they need more than constants."""
    makers = {output: node for node in body.node for output in node.output}
    states = {value.name: place for place, value in enumerate(body.input[2:])}
    constants = {each.name for each in body.initializer} | {body.input[0].name, body.input[1].name}
    needed: set[int] = set()
    open_names, seen = [body.output[0].name], set()
    while open_names:
        name = open_names.pop()
        if name in seen or name in constants or not name:
            continue
        seen.add(name)
        if name in makers:
            needed.add(id(makers[name]))
            open_names += makers[name].input
        elif name in states and loop.input[2 + states[name]] in known:
            open_names.append(body.output[1 + states[name]].name)
        else:
            return None
    return [node for node in body.node if id(node) in needed]


def _conditions(loop: Any, body: Any, nodes: list[Any], known: Mapping[str, Array]) -> Iterator[bool]:
    """After each turn, whether another follows, computed by ONNX's reference implementation."""
    carried = [(value.name, body.output[1 + place].name) for place, value in enumerate(body.input[2:])]
    made = {output for node in nodes for output in node.output}
    before = zip(body.input[2:], loop.input[2:], strict=True)
    state = {value.name: known[name] for value, name in before if name in known}
    wanted = [body.output[0].name, *(after for _, after in carried if after in made)]
    evaluator = _evaluator(body, nodes, [body.input[0].name, body.input[1].name, *state], wanted)
    turn = 0
    while True:
        given = {body.input[0].name: np.array(turn, np.int64), body.input[1].name: np.array(True), **state}
        results = dict(zip(wanted, evaluator.run(None, given), strict=True))
        yield bool(results[body.output[0].name])
        state |= {name: results[after] for name, after in carried if after in results and name in state}
        turn += 1


def _evaluator(body: Any, nodes: list[Any], inputs: list[str], outputs: list[str]) -> ReferenceEvaluator:
    def untyped(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None)

    graph = helper.make_graph(
        nodes,
        "counting",
        [untyped(name) for name in inputs],
        [untyped(name) for name in dict.fromkeys(outputs)],
        list(body.initializer),
    )
    return ReferenceEvaluator(graph, opsets={"": 17})
