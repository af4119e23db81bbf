"""To `.tflite`: TensorFlow's own converter, litert-torch, and onnx2tf in an environment of its own."""

from pathlib import Path

from edgeward_converters.exporters.tflite_names import name_tensors
from edgeward_converters.sources import SIGNATURE, Source


def from_saved_model(source: Source, artifact: Path) -> list[Path]:
    """Convert the signature; a model with loops of TensorFlow's own (LSTM, GRU) is frozen first, for one sample."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(source.canonical), signature_keys=[SIGNATURE])
    try:
        content = converter.convert()
        tf.lite.Interpreter(model_content=content).allocate_tensors()
    except Exception:  # TensorListReserve, READ_VARIABLE: each version fails in its own way
        content = _frozen(source)
    artifact.write_bytes(content)
    return [artifact]


def from_torch(source: Source, artifact: Path) -> list[Path]:
    """Convert the program by litert-torch, for its own batch or one sample: the runtime splits what is more."""
    import litert_torch

    from edgeward_converters.exporters.torch_operators import is_recurrent, lowered
    from edgeward_converters.sources import torch

    program = torch.load(source.canonical)
    if is_recurrent(program):  # litert-torch writes out every step
        return _through_onnx(source, artifact)
    arguments, options = torch.arguments_of(program, torch.examples(program, source.batch or 1))
    edge = litert_torch.convert(lowered(program).module(), arguments, options or None)
    edge.export(str(artifact))
    artifact.write_bytes(_named(source, artifact.read_bytes()))
    return [artifact]


def from_onnx(source: Source, artifact: Path) -> list[Path]:
    """Convert by onnx2tf, loops written out and layouts kept."""
    from edgeward_converters.exporters import onnx2tf, onnx_loops

    model = onnx_loops.unrolled(source.canonical, artifact.parent)
    return onnx2tf.export(model, artifact, source.inputs, source.outputs)


def from_tflite(source: Source, artifact: Path) -> list[Path]:
    """Take the file as it is."""
    artifact.write_bytes(source.canonical.read_bytes())
    return [artifact]


def _through_onnx(source: Source, artifact: Path) -> list[Path]:
    from edgeward_converters.exporters import onnx2tf, onnxruntime

    (translated,) = onnxruntime.from_torch(source, artifact.with_suffix(".onnx"))
    return onnx2tf.export(translated, artifact, source.inputs, source.outputs)


def _named(source: Source, content: bytes) -> bytes:
    inputs, outputs = [tensor.name for tensor in source.inputs], [tensor.name for tensor in source.outputs]
    return name_tensors(content, inputs, outputs)


def _frozen(source: Source) -> bytes:
    import tensorflow as tf

    from edgeward_converters.exporters.frozen import freeze

    function = freeze(source, source.batch or 1)
    return _named(source, tf.lite.TFLiteConverter.from_concrete_functions([function]).convert())
