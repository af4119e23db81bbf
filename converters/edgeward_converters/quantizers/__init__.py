"""Quantizers: from one engine's float artifact to another precision. One file per engine, run in the worker.

    ladder       which artifacts are tried for a precision, in order; pure
    litert       ai-edge-quantizer (litert_lookups: embeddings as it can quantize them)
    onnxruntime  onnxruntime.quantization, and NNCF (onnxruntime_weights: of the weights alone)
    openvino     NNCF (openvino_weights: what it passes over)
    corrected    NNCF's static int8, for both of them
    litert_mixed, nncf_controlled   a precision for each layer, by what it costs on held-back samples
    channels     weights in int8 with a scale per channel; pure
    contents     what an artifact's weights came out in; pure

A quantizer refuses what its engine lacks. What it wrote is looked into: an artifact is called after a precision only
when most of its weights have it, so that a network whose layers a library passed over is not sold as quantized.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

from edgeward_converters.data import Arrays
from edgeward_converters.quantizers.contents import check
from edgeward_converters.quantizers.ladder import Rung
from edgeward_converters.quantizers.litert_mixed_settings import Basis, Mixed
from edgeward_runtimes.manifest import Quantization

Written = tuple[list[Path], Quantization | None]
Quantizer = Callable[[Path, Path, Rung, list[Arrays] | None], Written]
MixedQuantizer = Callable[[Path, Path, Mixed, Basis], Written]
_MIXED = {"litert": "litert_mixed", "onnxruntime": "nncf_controlled", "openvino": "nncf_controlled"}

# Enough for the ranges to settle (ResNet8's accuracy moves by less than 0.5 points from 256 to 1,000 samples).
CALIBRATION_SAMPLES = 512


def quantize(
    engine: str, rung: Rung, float_artifact: Path, artifact: Path, calibration: Arrays | None, batch: int = 1
) -> Written:
    """Write an engine's artifact of another precision.

    Args:
        engine: The engine's name.
        rung: What to make.
        float_artifact: The engine's float artifact.
        artifact: Where to write.
        calibration: Arrays by input name, the first axis being the samples.
        batch: How many samples the model takes at a time.

    Returns:
        The files written, the one to open first, and the kind.

    Raises:
        ConversionError: When the engine lacks it, or most of the weights came out as they were.
    """
    module = import_module(f"{__name__}.{engine}")
    batches = None if calibration is None else batched(calibration, batch)
    files, kind = cast(Quantizer, module.quantize)(float_artifact, artifact, rung, batches)
    check(rung.precision, module.constants(files[0]))
    return files, kind


def quantize_mixed(engine: str, float_artifact: Path, artifact: Path, settings: Mixed, basis: Basis) -> Written:
    """Write an engine's artifact whose layers have precisions of their own, within `basis.max_drop`.

    Raises:
        ConversionError: When nothing is within it, or most of the weights came out as they were.
        ConfigError: When there are too few calibration samples to hold some back.
    """
    module = import_module(f"{__name__}.{_MIXED[engine]}")
    files, kind = cast(MixedQuantizer, module.quantize)(float_artifact, artifact, settings, basis)
    check("mixed", import_module(f"{__name__}.{engine}").constants(files[0]))
    return files, kind


def given(engine: str, artifact: Path) -> Quantization | None:
    """The kind of an artifact that came quantized."""
    kind: Quantization | None = import_module(f"{__name__}.{engine}").kind(artifact)
    return kind


def first(calibration: Arrays | None) -> Arrays | None:
    """As much of the calibration data as is used."""
    return None if calibration is None else {name: array[:CALIBRATION_SAMPLES] for name, array in calibration.items()}


def batched(calibration: Arrays, size: int) -> list[Arrays]:
    """The calibration data in batches; what is left over at the end is left out, unless it is all there is."""
    samples = len(next(iter(calibration.values())))
    if samples < size:
        calibration = {name: array.repeat(-(-size // samples), axis=0) for name, array in calibration.items()}
        samples = size
    starts = range(0, samples - size + 1, size)
    return [{name: array[start : start + size] for name, array in calibration.items()} for start in starts]
