"""ResNet8 to six files by the libraries alone, as somebody who knows them writes it: no names, no checks, no proof.

The same calls with the same settings as edgeward's, so that what edgeward takes beyond them is its own.
"""

import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SAMPLES = 512


def convert(keras_file: Path, pictures: NDArray[np.float32], folder: Path) -> float:
    """Write the six artifacts into `folder`; return the seconds it took. Runs in a warm worker."""
    _import_all()
    started = time.perf_counter()
    saved_model = _load_and_export(keras_file, folder)
    name = next(iter(_signature(saved_model).structured_input_signature[1]))
    samples = [{name: pictures[index : index + 1]} for index in range(_SAMPLES)]
    _litert(saved_model, samples, folder)
    _onnxruntime(saved_model, samples, folder)
    _openvino(saved_model, samples, folder)
    return time.perf_counter() - started


def _import_all() -> None:
    for name in ("ai_edge_quantizer", "keras", "nncf", "onnxruntime.quantization", "openvino", "tensorflow", "tf2onnx"):
        import_module(name)


def _load_and_export(keras_file: Path, folder: Path) -> str:
    import keras

    model = keras.models.load_model(keras_file, compile=False)
    model.export(str(folder / "saved_model"), verbose=False)
    return str(folder / "saved_model")


def _signature(saved_model: str) -> Any:
    import tensorflow as tf

    return tf.saved_model.load(saved_model).signatures["serving_default"]


def _litert(saved_model: str, samples: list[dict[str, Any]], folder: Path) -> None:
    import tensorflow as tf
    from ai_edge_quantizer import calibrator, quantizer, recipe, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    content = tf.lite.TFLiteConverter.from_saved_model(saved_model, signature_keys=["serving_default"]).convert()
    (folder / "fp32.tflite").write_bytes(content)
    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(recipe.static_wi8_ai8())
    ranges = calibrator.Calibrator(content, num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    ranges.calibrate({"serving_default": samples}, manager)
    plan = manager.get_quantization_recipe()
    quantized = quantizer.Quantizer(content, plan).quantize(ranges.get_model_qsvs())
    (folder / "int8.tflite").write_bytes(quantized.quantized_model)


def _onnxruntime(saved_model: str, samples: list[dict[str, Any]], folder: Path) -> None:
    import onnx
    import tensorflow as tf
    import tf2onnx
    from keras.src.export.tf2onnx_lib import patch_tf2onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    patch_tf2onnx()
    loaded = tf.saved_model.load(saved_model)
    serve = loaded.signatures["serving_default"]
    (name, specification), *_ = serve.structured_input_signature[1].items()
    function = tf.function(lambda x: serve(**{name: x}), input_signature=[specification])
    model, _ = tf2onnx.convert.from_function(function, [specification], opset=17)
    fp32, prepared = str(folder / "fp32.onnx"), str(folder / "prepared.onnx")
    onnx.save(model, fp32)
    quant_pre_process(fp32, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        str(folder / "int8.onnx"),
        Reader([{model.graph.input[0].name: sample[name]} for sample in samples]),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def _openvino(saved_model: str, samples: list[dict[str, Any]], folder: Path) -> None:
    import nncf
    import openvino
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    model = openvino.convert_model(saved_model)
    openvino.save_model(model, str(folder / "fp32.xml"), compress_to_fp16=False)
    inputs = [next(iter(sample.values())) for sample in samples]
    quantized = nncf.quantize(
        model,
        nncf.Dataset(inputs),
        subset_size=_SAMPLES,
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(convolution=-1.0, matmul=-1.0),
        ),
    )
    openvino.save_model(quantized, str(folder / "int8.xml"), compress_to_fp16=False)


class Reader:
    """As onnxruntime's quantize_static wants its samples."""

    def __init__(self, samples: list[dict[str, Any]]) -> None:
        self._samples: Iterator[dict[str, Any]] = iter(samples)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._samples, None)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._samples
