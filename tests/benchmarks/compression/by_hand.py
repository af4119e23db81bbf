"""What a user gets from each library alone, with the settings that its own guide recommends.

Each function writes one artifact from the Keras file and returns its path; `points` runs them all, each in the worker
(some crash it for some models), and measures what comes out by the same runtime on the same data as edgeward's.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from edgeward_converters import Worker, evaluate
from edgeward_converters.data import Labelled
from edgeward_runtimes.errors import EdgewardError
from edgeward_runtimes.manifest import Tensor
from tests.benchmarks.compression.models import Subject
from tests.benchmarks.models import Array

_SAMPLES = 512


class Point(Struct, frozen=True):
    """One artifact: its engine, who made it, bytes, and the metric on the evaluation data."""

    engine: str
    how: str
    size_bytes: int
    metric: float


class Failure(Struct, frozen=True):
    """A library that gave nothing."""

    engine: str
    how: str
    reason: str


def points(worker: Worker, subject: Subject, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> Iterator[Any]:
    """What every library gives for the subject; `inputs` and `outputs` are the bundle's."""
    x, y = subject.load("evaluation")
    evaluation = Labelled({inputs[0].name: x.astype(inputs[0].dtype)}, y)
    calibration = subject.load("training")[0][:_SAMPLES].astype(inputs[0].dtype)
    with tempfile.TemporaryDirectory() as temporary:
        for how, (engine, make) in WAYS.items():
            folder = Path(temporary) / make.__name__
            folder.mkdir()
            try:
                artifact = worker.run(make, subject.source, calibration, folder)
                yield _measured(worker, how, engine, artifact, inputs, outputs, evaluation)
            except EdgewardError as error:
                yield Failure(engine, how, " ".join(str(error).split())[:120])


def _measured(
    worker: Worker,
    how: str,
    engine: str,
    artifact: Path,
    inputs: tuple[Tensor, ...],
    outputs: tuple[Tensor, ...],
    evaluation: Labelled,
) -> Point:
    golden = {name: array[:4] for name, array in evaluation.inputs.items()}
    expected = {tensor.name: np.zeros((4, *tensor.shape[1:]), np.float32) for tensor in outputs}
    measured = worker.run(
        evaluate.measure_artifact, artifact, engine, inputs, outputs, (golden, expected), evaluation, "accuracy"
    )
    companion = artifact.with_suffix(".bin")
    size = artifact.stat().st_size + (companion.stat().st_size if companion.exists() else 0)
    return Point(engine, how, size, measured.metric)


def tensorflow_float32(source: Path, x: Array, folder: Path) -> Path:
    """TFLiteConverter as it is."""
    return _tensorflow(source, folder, lambda converter: None)


def tensorflow_dynamic(source: Path, x: Array, folder: Path) -> Path:
    """Optimize.DEFAULT."""

    def optimize(converter: Any) -> None:
        import tensorflow as tf

        converter.optimizations = [tf.lite.Optimize.DEFAULT]

    return _tensorflow(source, folder, optimize)


def tensorflow_float16(source: Path, x: Array, folder: Path) -> Path:
    """Optimize.DEFAULT with float16 weights."""

    def optimize(converter: Any) -> None:
        import tensorflow as tf

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]

    return _tensorflow(source, folder, optimize)


def tensorflow_int8(source: Path, x: Array, folder: Path) -> Path:
    """Full integers from representative samples."""

    def optimize(converter: Any) -> None:
        import tensorflow as tf

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([sample[None]] for sample in x)

    return _tensorflow(source, folder, optimize)


def ai_edge_dynamic(source: Path, x: Array, folder: Path) -> Path:
    """ai-edge-quantizer, dynamic int8."""
    return _ai_edge(source, folder, "dynamic_wi8_afp32", None)


def ai_edge_static(source: Path, x: Array, folder: Path) -> Path:
    """ai-edge-quantizer, static int8."""
    return _ai_edge(source, folder, "static_wi8_ai8", x)


def ai_edge_int4(source: Path, x: Array, folder: Path) -> Path:
    """ai-edge-quantizer, int4 weights."""
    return _ai_edge(source, folder, "dynamic_wi4_afp32", None)


def onnxruntime_dynamic(source: Path, x: Array, folder: Path) -> Path:
    """quantize_dynamic."""
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(_onnx(source, folder), str(folder / "dynamic.onnx"))
    return folder / "dynamic.onnx"


def onnxruntime_static(source: Path, x: Array, folder: Path) -> Path:
    """quantize_static: QDQ, per channel, after its own pre-processing."""
    import onnx
    from onnxruntime.quantization import quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from tests.benchmarks.by_hand import Reader

    prepared = str(folder / "prepared.onnx")
    quant_pre_process(_onnx(source, folder), prepared, skip_symbolic_shape=True)
    name = onnx.load(prepared).graph.input[0].name
    quantize_static(prepared, str(folder / "static.onnx"), Reader([{name: each[None]} for each in x]), per_channel=True)
    return folder / "static.onnx"


def nncf_int8(source: Path, x: Array, folder: Path) -> Path:
    """nncf.quantize of the OpenVINO model."""
    import nncf

    return _openvino(source, folder, lambda model: nncf.quantize(model, nncf.Dataset([each[None] for each in x])))


def nncf_weights(source: Path, x: Array, folder: Path) -> Path:
    """nncf.compress_weights of the OpenVINO model."""
    import nncf

    return _openvino(source, folder, nncf.compress_weights)


WAYS: dict[str, tuple[str, Callable[[Path, Array, Path], Path]]] = {
    "TensorFlow, float32": ("litert", tensorflow_float32),
    "TensorFlow, dynamic int8": ("litert", tensorflow_dynamic),
    "TensorFlow, float16": ("litert", tensorflow_float16),
    "TensorFlow, int8": ("litert", tensorflow_int8),
    "ai-edge-quantizer, dynamic int8": ("litert", ai_edge_dynamic),
    "ai-edge-quantizer, static int8": ("litert", ai_edge_static),
    "ai-edge-quantizer, int4": ("litert", ai_edge_int4),
    "onnxruntime.quantization, dynamic": ("onnxruntime", onnxruntime_dynamic),
    "onnxruntime.quantization, static": ("onnxruntime", onnxruntime_static),
    "NNCF, int8": ("openvino", nncf_int8),
    "NNCF, int8 weights": ("openvino", nncf_weights),
}


def _saved_model(source: Path, folder: Path) -> str:
    import keras

    keras.models.load_model(source, compile=False).export(str(folder / "saved_model"), verbose=False)
    return str(folder / "saved_model")


def _tensorflow(source: Path, folder: Path, optimize: Callable[[Any], None]) -> Path:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(_saved_model(source, folder))
    optimize(converter)
    (folder / "model.tflite").write_bytes(converter.convert())
    return folder / "model.tflite"


def _ai_edge(source: Path, folder: Path, recipe_name: str, x: Array | None) -> Path:
    from ai_edge_quantizer import quantizer, recipe

    unquantized = _tensorflow(source, folder, lambda converter: None)
    made = quantizer.Quantizer(str(unquantized), getattr(recipe, recipe_name)())
    calibrated = None
    if x is not None:
        name = next(iter(_input_names(unquantized)))
        calibrated = made.calibrate({"serving_default": [{name: each[None]} for each in x]})
    (folder / "quantized.tflite").write_bytes(made.quantize(calibrated).quantized_model)
    return folder / "quantized.tflite"


def _input_names(artifact: Path) -> list[str]:
    from ai_edge_litert.interpreter import Interpreter

    return list(Interpreter(str(artifact)).get_signature_list()["serving_default"]["inputs"])


def _onnx(source: Path, folder: Path) -> str:
    import keras

    model = keras.models.load_model(source, compile=False)
    model(np.zeros((1, *model.inputs[0].shape[1:]), model.inputs[0].dtype))  # the export wants it called
    model.export(str(folder / "model.onnx"), format="onnx", verbose=False)
    return str(folder / "model.onnx")


def _openvino(source: Path, folder: Path, quantize: Callable[[Any], Any]) -> Path:
    import openvino

    openvino.save_model(
        quantize(openvino.convert_model(_saved_model(source, folder))),
        str(folder / "model.xml"),
        compress_to_fp16=False,
    )
    return folder / "model.xml"
