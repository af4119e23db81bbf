"""What runs on the device: bundles, engines, predict, latency, install, agent. Imports numpy and msgspec alone."""

from edgeward_runtimes.bundle import Bundle
from edgeward_runtimes.errors import BundleError, EdgewardError, EngineError, InputError, InstallError
from edgeward_runtimes.loading import load
from edgeward_runtimes.model import Model

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
