"""`.tflite` files as sources: MLPerf Tiny's own, float and quantized, packaged as they are, proved on themselves."""

from pathlib import Path

import numpy as np

import edgeward
from edgeward_converters import Worker, convert


def test_a_float_file_is_packaged_quantized_and_carried_to_the_other_engines(worker: Worker, test_data: Path) -> None:
    conversion = convert(test_data / "mlperf_tiny" / "pretrainedResnet.tflite", worker=worker)
    outcomes = {outcome.id: outcome for outcome in conversion.report.variants if outcome.kept}
    assert len(outcomes) == 6
    comparison = outcomes["litert-fp32"].comparison
    assert comparison is not None
    assert comparison.max_abs_error == 0.0  # the file itself
    size = (test_data / "mlperf_tiny" / "pretrainedResnet.tflite").stat().st_size
    assert outcomes["litert-int8"].size_bytes < size / 2


def test_a_quantized_file_stays_as_it_is_takes_floats_and_is_litert_s_alone(
    worker: Worker, test_data: Path, tmp_path: Path
) -> None:
    path = test_data / "mlperf_tiny" / "pretrainedResnet_quant.tflite"
    with np.load(test_data / "cifar10_test.npz") as split:
        pictures, labels = split["x"][:500].astype(np.float32), split["y"][:500]
    conversion = convert(path, calibration=pictures, evaluation=(pictures, labels), worker=worker)
    (variant,) = conversion.bundle.manifest.variants
    assert (variant.id, variant.quantization) == ("litert-int8", "static")
    assert variant.metric is not None
    assert variant.metric > 0.7
    assert conversion.bundle.manifest.inputs[0].dtype == "float32"
    left_out = [outcome for outcome in conversion.report.variants if not outcome.kept]
    assert all("is quantized to int8 already" in (outcome.reason or "") for outcome in left_out)
    conversion.bundle.save(tmp_path / "resnet.edge")
    with edgeward.load(tmp_path / "resnet.edge") as model:
        predicted = model.predict(pictures[:8])
    assert predicted.dtype == np.float32
    assert abs(float(predicted[0].sum()) - 1) < 0.05  # probabilities again, not integers
