"""An OpenVINO model's weights in int8 where NNCF passes them over: in loops, and what goes into loops.

OpenVINO makes them floats again when it compiles the model: this saves size alone.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import openvino
from openvino import opset13

from edgeward_converters.quantizers.channels import in_8_bits, is_worth_it


def models(model: Any) -> Iterator[Any]:
    """The model and the bodies of its loops and branches."""
    yield model
    for operation in model.get_ops():
        kind = operation.get_type_name()
        if kind in ("Loop", "TensorIterator"):
            yield from models(operation.get_function())
        elif kind == "If":
            for place in range(2):
                yield from models(operation.get_function(place))


def store_in_8_bits(model: Any) -> Any:
    """The model with its float weights in int8; changed in place."""
    for each in list(models(model)):
        for operation in each.get_ops():
            if operation.get_type_name() == "Constant" and _is_worth_it(operation):
                _store(operation)
    return model


def _is_worth_it(constant: Any) -> bool:
    dtype = np.dtype(constant.get_element_type().to_dtype()).name
    return is_worth_it(dtype, tuple(constant.get_output_shape(0)))


def _store(constant: Any) -> None:
    stored, scales, axis = in_8_bits(constant.data)
    readers = constant.output(0).get_target_inputs()
    shape = [-1 if each == axis else 1 for each in range(stored.ndim)]
    integers = opset13.convert(opset13.constant(stored, openvino.Type.i8), "f32")
    floats = opset13.multiply(integers, opset13.constant(scales.reshape(shape), openvino.Type.f32))
    for reader in readers:
        reader.replace_source_output(floats.output(0))
