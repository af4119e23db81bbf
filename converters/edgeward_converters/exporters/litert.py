"""SavedModel → `.tflite`, by TensorFlow's own converter."""

from pathlib import Path

import tensorflow as tf

from edgeward_converters.sources import Source


def export(source: Source, artifact: Path) -> list[Path]:
    """Write a float `.tflite` with the signature `serving_default`."""
    converter = tf.lite.TFLiteConverter.from_saved_model(str(source.saved_model), signature_keys=["serving_default"])
    artifact.write_bytes(converter.convert())
    return [artifact]
