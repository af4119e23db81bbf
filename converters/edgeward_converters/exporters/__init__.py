"""Exporters: from the source to one engine's float artifact. One function each, run in the worker.

An artifact's tensors carry the manifest's names, so the runtime matches them by name.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

from edgeward_converters.sources import Source

Exporter = Callable[[Source, Path], list[Path]]
SUFFIX = {"litert": ".tflite", "onnxruntime": ".onnx", "openvino": ".xml"}


def export(engine: str, source: Source, artifact: Path) -> list[Path]:
    """Write the engine's float artifact; return the files written, the one to open first."""
    module = import_module(f"{__name__}.{engine}")
    return cast(Exporter, module.export)(source, artifact)
