"""The layers of an OpenVINO model: a Result for every operation's outputs. In float32, as the runtime asks for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeward_converters.layers.graph import Graph, Operation, as_floats, graph_of

_CARRIERS = frozenset({"FakeQuantize", "FakeConvert"})
_HINTS = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}


class OpenVinoTracer:
    """A compiled model that hides nothing; see `graph.Tracer`."""

    def __init__(self, artifact: Path) -> None:
        import openvino

        core = openvino.Core()
        model = core.read_model(str(artifact))
        self.graph = _graph(model)
        first = [port.get_partial_shape()[0] for port in model.inputs]
        self.batch = next((size.get_length() for size in first if size.is_static), None)
        self._inputs = {port.get_any_name(): place for place, port in enumerate(model.inputs)}
        wanted = set(self.graph.worth_reading())
        ports = {
            name: port
            for node in model.get_ordered_ops()
            for name, port in zip(_tensors(node), node.outputs(), strict=False)
            if name in wanted
        }
        model.add_outputs(list(ports.values()))
        self._places = {_source_of(result.inputs()[0]): place for place, result in enumerate(model.get_results())}
        self._request = core.compile_model(model, "CPU", _HINTS).create_infer_request()

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run one batch."""
        self._request.infer({place: np.ascontiguousarray(inputs[name]) for name, place in self._inputs.items()})
        values = {
            name: as_floats(self._request.get_output_tensor(place).data.copy()) for name, place in self._places.items()
        }
        return values | {tensor: as_floats(inputs[name]) for name, tensor in self.graph.inputs.items()}


def read(artifact: Path) -> Graph:
    """The graph alone, without running it."""
    import openvino

    return _graph(openvino.Core().read_model(str(artifact)))


def _graph(model: Any) -> Graph:
    operations = [
        Operation(
            name=node.get_friendly_name(),
            operator=node.get_type_name(),
            inputs=tuple(map(_source_of, node.inputs())),
            outputs=_tensors(node),
        )
        for node in model.get_ordered_ops()
        if node.get_type_name() not in ("Constant", "Parameter", "Result")
    ]
    inputs = {port.get_any_name(): _tensors(port.get_node())[0] for port in model.inputs}
    outputs = {port.get_any_name(): _source_of(port.get_node().inputs()[0]) for port in model.outputs}
    return graph_of(operations, _constants(model), inputs, outputs, _CARRIERS)


def _constants(model: Any) -> dict[str, int]:
    return {
        _tensors(node)[0]: int(node.get_byte_size())
        for node in model.get_ordered_ops()
        if node.get_type_name() == "Constant"
    }


def _tensors(node: Any) -> tuple[str, ...]:
    """A name for each output: the node's friendly name, with a number where there are several."""
    name, count = node.get_friendly_name(), node.get_output_size()
    return (name,) if count == 1 else tuple(f"{name}.{index}" for index in range(count))


def _source_of(port: Any) -> str:
    source = port.get_source_output()
    name: str = _tensors(source.get_node())[source.get_index()]
    return name
