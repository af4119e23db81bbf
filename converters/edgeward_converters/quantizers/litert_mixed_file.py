"""A `.tflite` file whose layers have precisions of their own: ai-edge-quantizer's, with our own integers put in.

The library quantizes by a recipe and finds scales (min-max, MSE, OCTAV); `litert_mixed_rounding` finds better integers
for what it gives four bits. While searching, these integers are written in eight bits each: the arithmetic is the same
and LiteRT's 8-bit kernels are several times as fast.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer import quantizer
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.qtyping import TFLOperationName
from ai_edge_quantizer.recipe_manager import RecipeManager
from msgspec import Struct
from numpy.typing import NDArray

from edgeward_converters.exporters import tflite_file
from edgeward_converters.quantizers.litert_mixed_layers import Layer

Array = NDArray[Any]
FLOAT = 32
_ALL = TFLOperationName.ALL_SUPPORTED
_FREE_NIBBLES = 2


class Replacement(Struct, frozen=True):
    """A layer's weights in few bits: integers (channels, k), scales (channels,), and what the bias gains."""

    integers: Array
    scales: Array
    shift: Array


def quantized(
    content: bytes,
    of: list[Layer],
    bits: Mapping[str, int],
    ranges: Any,
    *,
    algorithm: AlgorithmName = AlgorithmName.OCTAV,
) -> bytes:
    """The library's file.

    Args:
        content: The float file.
        of: Its layers.
        bits: By layer: 4 and 8 are those of its weights; 16 those of its activations, on weights of 8; 32 is float.
        ranges: What calibration found, or None for activations that are quantized while running.
        algorithm: How scales of four bits are chosen.
    """
    recipe = RecipeManager()
    if ranges is None:
        recipe.add_dynamic_config(".*", _ALL, 8)
    else:
        recipe.add_static_config(".*", _ALL, activation_num_bits=8, weight_num_bits=8)
        recipe.add_dynamic_config(".*", TFLOperationName.EMBEDDING_LOOKUP, 8)
        for operation in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
            recipe.add_quantization_config(".*", operation, algorithm_key=AlgorithmName.NO_QUANTIZE)
    for layer in of:
        for output in layer.outputs:
            _add(recipe, layer, output, bits[layer.name], ranges is not None, algorithm)
    return bytes(quantizer.Quantizer(content, recipe.get_quantization_recipe()).quantize(ranges).quantized_model)


def low_bits(content: bytes, layer: Layer) -> tuple[Array, Array] | None:
    """A layer's integers (channels, k) and scales in a quantized file, None where it has no scale per channel."""
    model = tflite_file.read(content)
    if layer.tensor is None:
        return None
    tensor = model.subgraphs[0].tensors[layer.tensor]
    scales = None if tensor.quantization is None else tensor.quantization.scale
    if scales is None or len(scales) != tensor.shape[0] or tensor.type not in (schema.TensorType.INT4, _INT8):
        return None
    data = np.asarray(model.buffers[tensor.buffer].data, np.uint8)
    if tensor.type == schema.TensorType.INT4:
        nibbles = np.stack([data & 15, data >> 4], axis=1).reshape(-1)[: int(np.prod(tensor.shape))]
        values = ((nibbles.astype(np.int16) + 8) % 16) - 8
    else:
        values = data.view(np.int8)
    return values.reshape(len(scales), -1).astype(np.float64), np.asarray(scales, np.float64)


def replaced(content: bytes, quantized_content: bytes, of: Mapping[str, tuple[Layer, Replacement]]) -> bytes:
    """A quantized file with other weights and biases in some layers.

    Args:
        content: The float file, which has the biases.
        quantized_content: The library's file, in which those layers have four or eight bits.
        of: Layers by name, with what goes into them.
    """
    original, model = tflite_file.read(content), tflite_file.read(quantized_content)
    for layer, replacement in of.values():
        _put_weights(model, layer, replacement)
        if layer.operator is not None:
            _put_bias(original, model, layer, replacement)
    return tflite_file.write(model)


_INT8 = schema.TensorType.INT8


def _add(
    recipe: RecipeManager, layer: Layer, output: str, bits: int, is_static: bool, algorithm: AlgorithmName
) -> None:
    """What becomes of one operator where that is not the default."""
    pattern, operation = f"^{re.escape(output)};", TFLOperationName[layer.operation]
    is_lookup = layer.operation == "EMBEDDING_LOOKUP"
    if bits == FLOAT:
        recipe.add_quantization_config(pattern, operation, algorithm_key=AlgorithmName.NO_QUANTIZE)
    elif bits == 4 and (is_lookup or not is_static):
        recipe.add_dynamic_config(pattern, operation, 4, algorithm_key=algorithm)
    elif bits == 4:
        recipe.add_static_config(pattern, operation, 8, 4, algorithm_key=algorithm)
    elif bits == 16 and is_static and not is_lookup:
        recipe.add_static_config(pattern, operation, 16, 8)


def _put_weights(model: Any, layer: Layer, replacement: Replacement) -> None:
    tensor = model.subgraphs[0].tensors[layer.tensor]
    values: Array = replacement.integers.astype(np.int8).reshape(-1).view(np.uint8)
    if tensor.type == schema.TensorType.INT4:
        even = np.pad(values, (0, len(values) % _FREE_NIBBLES)) & 15
        values = even[0::2] | (even[1::2] << 4)
    model.buffers[tensor.buffer].data = values
    tensor.quantization.scale = replacement.scales.astype(np.float32)


def _put_bias(original: Any, model: Any, layer: Layer, replacement: Replacement) -> None:
    """The float bias with its shift, in the unit that the sums of products have."""
    operator = original.subgraphs[0].operators[layer.operator]
    if len(operator.inputs) < 3 or operator.inputs[2] < 0:
        return
    values = tflite_file.constant(original, original.subgraphs[0].tensors[operator.inputs[2]])
    user = next(each for each in model.subgraphs[0].operators if each.inputs is not None and _reads(each, layer.tensor))
    graph = model.subgraphs[0]
    tensor = graph.tensors[user.inputs[2]]
    if values is None or not tflite_file.stored_bytes(model, tensor):
        return
    shifted = values.astype(np.float64) + replacement.shift
    if tensor.type == schema.TensorType.INT32:
        unit = replacement.scales.astype(np.float32) * graph.tensors[user.inputs[0]].quantization.scale[0]
        tensor.quantization.scale = unit.astype(np.float32)
        limit = 2**31 - 1
        stored = np.clip(np.rint(shifted / unit), -limit, limit).astype(np.int32)
    elif tensor.type == schema.TensorType.FLOAT32:
        stored = shifted.astype(np.float32)
    else:
        return
    buffer = schema.BufferT()  # of its own: another layer may share the old one
    buffer.data = np.frombuffer(stored.tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.buffer = len(model.buffers) - 1


def _reads(operator: Any, tensor: int | None) -> bool:
    return len(operator.inputs) > 1 and int(operator.inputs[1]) == tensor
