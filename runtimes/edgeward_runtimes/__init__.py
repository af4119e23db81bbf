"""What runs on the device: bundles, engines, predict, latency, install, agent. Imports numpy and msgspec alone.

Everything here is imported on first use (PEP 562): a process that loads a model pays for no more than that.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeward_runtimes.bundle import Bundle
    from edgeward_runtimes.errors import BundleError, EdgewardError, EngineError, InputError, InstallError
    from edgeward_runtimes.loading import load
    from edgeward_runtimes.model import Model

_HOME_OF = {
    "Bundle": "bundle",
    "BundleError": "errors",
    "EdgewardError": "errors",
    "EngineError": "errors",
    "InputError": "errors",
    "InstallError": "errors",
    "Model": "model",
    "load": "loading",
}

__all__ = [
    "Bundle",
    "BundleError",
    "EdgewardError",
    "EngineError",
    "InputError",
    "InstallError",
    "Model",
    "load",
]


def __getattr__(name: str) -> Any:
    """Import a public name on its first use."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'edgeward_runtimes' has no attribute {name!r}")
    value = getattr(import_module(f"edgeward_runtimes.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
