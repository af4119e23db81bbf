"""edgeward: takes a trained model to a fleet of edge devices and keeps watch over it there.

    bundle = edgeward.convert("model.keras", calibration=x, evaluation=(x, y), max_drop=0.005)
    bundle.save("model.edge")
    edgeward.flash("model.edge", "local:/tmp/device-1")
    y = edgeward.load("model.edge").predict(x)

Everything here is imported on first use (PEP 562): `import edgeward` costs no engine, no TensorFlow, no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgeward_runtimes.quick_start import Uncollected

if TYPE_CHECKING:
    from edgeward.workflow import convert, flash
    from edgeward_runtimes.bundle import Bundle
    from edgeward_runtimes.classification import Classification
    from edgeward_runtimes.errors import (
        BundleError,
        ConfigError,
        ConversionError,
        DeviceError,
        EdgewardError,
        EngineError,
        InputError,
        InstallError,
        MonitorError,
    )
    from edgeward_runtimes.loading import load
    from edgeward_runtimes.manifest import Preprocess
    from edgeward_runtimes.model import Model

_HOME_OF = {
    "convert": "edgeward.workflow",
    "flash": "edgeward.workflow",
    "load": "edgeward_runtimes.loading",
    "Bundle": "edgeward_runtimes.bundle",
    "Classification": "edgeward_runtimes.classification",
    "Model": "edgeward_runtimes.model",
    "Preprocess": "edgeward_runtimes.manifest",
    "BundleError": "edgeward_runtimes.errors",
    "ConfigError": "edgeward_runtimes.errors",
    "ConversionError": "edgeward_runtimes.errors",
    "DeviceError": "edgeward_runtimes.errors",
    "EdgewardError": "edgeward_runtimes.errors",
    "EngineError": "edgeward_runtimes.errors",
    "InputError": "edgeward_runtimes.errors",
    "InstallError": "edgeward_runtimes.errors",
    "MonitorError": "edgeward_runtimes.errors",
}

__all__ = [
    "Bundle",
    "BundleError",
    "Classification",
    "ConfigError",
    "ConversionError",
    "DeviceError",
    "EdgewardError",
    "EngineError",
    "InputError",
    "InstallError",
    "Model",
    "MonitorError",
    "Preprocess",
    "convert",
    "flash",
    "load",
]


def __getattr__(name: str) -> Any:
    """Import a public name on its first use."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'edgeward' has no attribute {name!r}")
    with Uncollected():
        value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
