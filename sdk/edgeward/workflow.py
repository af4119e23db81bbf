"""The workflow as functions: convert a trained model, flash the bundle to a device."""

import os
from pathlib import Path
from typing import Any

from edgeward_runtimes.bundle import Bundle
from edgeward_runtimes.install.health import Limits
from edgeward_runtimes.install.installer import Installed
from edgeward_targets import profiles
from edgeward_targets.device import Device, Terms


def convert(source: Any, *, target: str | None = None, **options: Any) -> Bundle:
    """Convert a trained model to a bundle of variants, each proved against it.

    Args:
        source: A `.keras`, `.h5`, `.pt2`, `.onnx` or `.tflite` file, a SavedModel folder, `module:function`, or a live
            object: a keras.Model, `(module, example_inputs)` of PyTorch, or a callable that gives such a pair.
        target: A target profile's name, or all six variants by default.
        **options: As `edgeward_converters.convert` takes them: calibration, evaluation, metric, max_drop, variants,
            signature, name, version, labels, preprocess, seed, report, progress.

    Raises:
        SourceError: When the source cannot be read.
        InputError: When the data does not fit it.
        ConversionError: When no variant is within `max_drop`; it gives each one's reason.
    """
    from edgeward_converters import convert as run_conversion

    return run_conversion(source, targets=() if target is None else (target,), **options).bundle


def flash(bundle: str | os.PathLike[str] | Bundle, device_url: str, *, target: str | None = None) -> Installed:
    """Install a bundle on a device, tested there by the device's own engines.

    Its agent, if one runs, watches the release for ten minutes and takes it back when it does worse than the old one.

    Args:
        bundle: A bundle or its path.
        device_url: `local:DIR`, `ssh://[user@]host[:port]` or `adb://serial`; see `edgeward_targets.transports`.
        target: A target profile's name, whose accelerators the device tries before its CPU.

    Raises:
        BundleError: When the bundle is damaged; the device was not touched.
        InstallError: When no variant passed its golden samples there, or the device cannot take it.
        DeviceError: When the device is out of reach.
    """
    path = bundle.path if isinstance(bundle, Bundle) else Path(bundle)
    accelerators = () if target is None else profiles.get(target).accelerators
    with Device(device_url) as device:
        return device.install(path, terms=Terms(accelerators, health=Limits()))
