"""The workflow as functions: convert a trained model, flash the bundle to a device."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from edgeward_converters import convert as run_conversion
from edgeward_converters.events import Event
from edgeward_runtimes.bundle import Bundle
from edgeward_runtimes.install.installer import Installed
from edgeward_runtimes.manifest import Preprocess
from edgeward_targets.device import Device


def flash(bundle: str | os.PathLike[str] | Bundle, device_url: str) -> Installed:
    """Install a bundle on a device, tested there by the device's own engines.

    Args:
        bundle: A bundle or its path.
        device_url: `local:DIR`.

    Raises:
        BundleError: When the bundle is damaged; the device was not touched.
        InstallError: When no variant passed its golden samples there, or the device cannot take it.
        DeviceError: When the device is out of reach.
    """
    path = bundle.path if isinstance(bundle, Bundle) else Path(bundle)
    return Device(device_url).install(path)
