"""Exporters: from a source's form to one engine's float artifact. One file per engine, one function per form.

    saved_model  torch  onnx  tflite   →   litert, onnxruntime, openvino

The direct way is taken wherever there is one. An artifact's tensors carry the manifest's names, so the runtime matches
them by name; layouts stay the source's, so `predict` takes the same array whatever the engine. All run in the worker.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

from edgeward_converters.sources import Source
from edgeward_runtimes.errors import ConversionError

Exporter = Callable[[Source, Path], list[Path]]
SUFFIX = {"litert": ".tflite", "onnxruntime": ".onnx", "openvino": ".xml"}


def export(engine: str, source: Source, artifact: Path) -> list[Path]:
    """Write the engine's float artifact; return the files written, the one to open first."""
    module = import_module(f"{__name__}.{engine}")
    return cast(Exporter, getattr(module, f"from_{source.form}"))(source, artifact)


def refuse_quantized(source: Source) -> None:
    """A `.tflite` with integer weights is LiteRT's own: what others make of its integers is another model."""
    if source.precision not in ("fp32", "fp16"):
        raise ConversionError(
            f"{source.path.name} is quantized to {source.precision} already, which only LiteRT runs as it is; "
            "convert the float model for other engines"
        )
