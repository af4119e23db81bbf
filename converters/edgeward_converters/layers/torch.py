"""The layers of a PyTorch program: its operators run node by node, named by the module that each belongs to.

The program is decomposed as exporters do it, and further: LiteRT folds half of a layer normalization into the next
layer, ONNX has a product and a bias where PyTorch has one `addmm`, and for each there should be a tensor to compare.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeward_converters.layers.graph import Graph, Operation, as_floats, graph_of
from edgeward_converters.sources import Source
from edgeward_converters.sources import torch as torch_source

_NOWHERE = "empty_nn_module_stack_from_metadata_hook"


def open_tracer(source: Source) -> "TorchTracer":
    """Load the source's program."""
    return TorchTracer(source)


class TorchTracer:
    """See `graph.Tracer`. Its guards on shapes are left out: they ask for two samples where one does."""

    def __init__(self, source: Source) -> None:
        self.batch = source.batch
        self._names = [tensor.name for tensor in source.inputs]
        self._program = _decomposed(torch_source.load(source.canonical))
        self._module = self._program.module()
        self.graph = _graph(self._module, source)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run one batch."""
        import torch

        wanted = set(self.graph.worth_reading())
        values: dict[str, NDArray[Any]] = {}

        class Recorder(torch.fx.Interpreter):  # type: ignore[misc]
            def run_node(self, node: Any) -> Any:
                if node.op == "call_module":
                    return None
                result = super().run_node(node)
                if node.name in wanted and isinstance(result, torch.Tensor):
                    values[node.name] = _array(result)
                return result

        tensors = [torch.from_numpy(np.array(inputs[name])) for name in self._names]
        arguments = torch_source.arguments_of(self._program, tensors)
        with torch.no_grad():
            leaves = torch.utils._pytree.tree_leaves(arguments)
            Recorder(self._module).run(*leaves, enable_io_processing=False)
        return values | {self.graph.inputs[name]: as_floats(inputs[name]) for name in self._names}


def _decomposed(program: Any) -> Any:
    import torch

    aten = torch.ops.aten
    further = [
        aten.addmm,
        aten.gelu,
        aten.hardswish,
        aten.native_group_norm,
        aten.native_layer_norm,
        aten.silu,
        aten._scaled_dot_product_flash_attention_for_cpu,
    ]
    table = torch.export.default_decompositions()
    table.update(torch._decomp.get_decompositions(further))
    return program.run_decompositions(table)


def _array(tensor: Any) -> NDArray[Any]:
    import torch

    tensor = tensor.detach().float() if tensor.dtype == torch.bfloat16 else tensor.detach()
    return as_floats(tensor.numpy().copy())


def _graph(module: Any, source: Source) -> Graph:
    nodes = list(module.graph.nodes)
    constants = {node.name: _size(module, node) for node in nodes if node.op == "get_attr"}
    listed = [node for node in nodes if node.op == "call_function" and not _is_part(node)]
    shared = Counter(map(_path, listed))
    operations = [
        Operation(
            name=_name(node, shared),
            operator=str(getattr(node.target, "__name__", node.target)).partition(".")[0],
            inputs=tuple(name for each in node.all_input_nodes for name in _outputs(each)),
            outputs=_outputs(node),
        )
        for node in listed
    ]
    tensors = [node.name for node in nodes if node.op == "placeholder" and hasattr(node.meta.get("val"), "shape")]
    inputs = dict(zip([tensor.name for tensor in source.inputs], tensors, strict=True))
    results = nodes[-1].args[0]
    outputs = {tensor.name: node.name for tensor, node in zip(source.outputs, results, strict=True)}
    return graph_of(operations, constants, inputs, outputs)


def _outputs(node: Any) -> tuple[str, ...]:
    """The node's tensors: those that are taken from it where it gives several."""
    parts = [user for user in node.users if _is_part(user)]
    return tuple(part.name for part in parts) or (node.name,)


def _is_part(node: Any) -> bool:
    return node.op == "call_function" and getattr(node.target, "__name__", "") == "getitem"


def _name(node: Any, shared: Counter[str]) -> str:
    """The module's path alone where it has this one operation."""
    path = _path(node)
    if not path:
        return str(node.name)
    return path if shared[path] == 1 else f"{path}/{node.name}"


def _path(node: Any) -> str:
    stack = [str(path) for path, _ in (node.meta.get("nn_module_stack") or {}).values() if path != _NOWHERE]
    return stack[-1] if stack else ""


def _size(module: Any, node: Any) -> int:
    import torch

    value = module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    return int(value.numel() * value.element_size()) if isinstance(value, torch.Tensor) else 0
