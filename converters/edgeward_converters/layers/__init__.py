"""Models layer by layer: what each layer gives, how large it is, what quantization does to it, where a variant departs.

graph         operations and tensors, comparable across formats
litert, onnxruntime, openvino       an artifact's graph and inner values, by the engine itself
keras, saved_model, torch           a source's, by its own framework
tracing       samples through a model: `trace`, `trace_source`, `sizes`
likeness      how alike two tensors are, whatever the order of their axes (pure)
counterparts  which source tensor belongs to a variant's (pure)
quality, departure, explanation, finding    the first layer that departs (pure)
quantization  the error of each quantized layer
examination   all of it for one variant of a bundle, in the worker

Everything here runs foreign code: call it in a `worker`.
"""

from edgeward_converters.layers.departure import largest_error, locate
from edgeward_converters.layers.finding import Finding, Step
from edgeward_converters.layers.quantization import LayerError, quantization_error
from edgeward_converters.layers.tracing import Layer, LayerSize, sizes, trace, trace_source

__all__ = [
    "Finding",
    "Layer",
    "LayerError",
    "LayerSize",
    "Step",
    "largest_error",
    "locate",
    "quantization_error",
    "sizes",
    "trace",
    "trace_source",
]
