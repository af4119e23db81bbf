"""LiteRT int8 by ai-edge-quantizer: weights per channel, activations per tensor, integer inputs and outputs."""

from pathlib import Path

from ai_edge_quantizer import calibrator, quantizer, recipe, recipe_manager
from ai_edge_quantizer.utils import qsv_utils

from edgeward_converters.data import Arrays
from edgeward_converters.quantizers import samples
from edgeward_runtimes.manifest import Quantization

_SIGNATURE = "serving_default"


def quantize(float_artifact: Path, artifact: Path, calibration: Arrays | None) -> tuple[list[Path], Quantization]:
    """Write an int8 `.tflite`; without calibration data activations are quantized while running."""
    content = float_artifact.read_bytes()
    if calibration is None:
        result = quantizer.Quantizer(content, recipe.dynamic_wi8_afp32()).quantize()
    else:
        plan = recipe.static_wi8_ai8()
        result = quantizer.Quantizer(content, plan).quantize(_ranges(content, plan, calibration))
    artifact.write_bytes(result.quantized_model)
    return [artifact], "dynamic" if calibration is None else "static"


def _ranges(content: bytes, plan: object, calibration: Arrays) -> object:
    """The true minimum and maximum of every activation.

    The library's default is a moving average over the samples, which depends on their order and cuts the range short.
    """
    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(plan)
    ranges = calibrator.Calibrator(content, num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    ranges.calibrate({_SIGNATURE: samples(calibration)}, manager)
    return ranges.get_model_qsvs()
