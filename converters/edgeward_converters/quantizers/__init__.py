"""Quantizers: from one engine's float artifact to int8. One function each, run in the worker.

With calibration data all ranges are found beforehand (static); without, each engine does what it can while running, and
the quantizer says truthfully what that is.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

from edgeward_converters.data import Arrays
from edgeward_runtimes.manifest import Quantization

Quantizer = Callable[[Path, Path, Arrays | None], tuple[list[Path], Quantization]]

# Enough for the ranges to settle (ResNet8's accuracy moves by less than 0.5 points from 256 to 1,000 samples).
CALIBRATION_SAMPLES = 512


def quantize(
    engine: str, float_artifact: Path, artifact: Path, calibration: Arrays | None
) -> tuple[list[Path], Quantization]:
    """Write the engine's int8 artifact; return the files written, the one to open first, and the kind."""
    module = import_module(f"{__name__}.{engine}")
    if calibration is not None:
        calibration = {name: array[:CALIBRATION_SAMPLES] for name, array in calibration.items()}
    return cast(Quantizer, module.quantize)(float_artifact, artifact, calibration)


def samples(calibration: Arrays) -> list[Arrays]:
    """The calibration data as batches of one."""
    count = len(next(iter(calibration.values())))
    return [{name: array[index : index + 1] for name, array in calibration.items()} for index in range(count)]
