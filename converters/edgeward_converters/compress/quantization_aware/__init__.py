"""Quantization-aware fine-tuning: the weights learn to stand where quantization will put them.

step    the step of recipes
grid    the values that quantized weights may have; pure
shadow  float weights behind the quantized ones while training
keras, torch   which weights a model has, and rounding of activations

Why our own: what comes out must be the float model that went in, for every exporter and quantizer to take. Keras 3
quantizes layers for inference alone; torchao fine-tunes linear layers in groups for its own kernels, or a graph with
quantizers in it; NNCF leaves its quantizers in the model.
"""
