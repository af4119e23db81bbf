"""What a device can be asked to do; `__main__` gives these a command line, the host's CLI calls it over a transport."""

import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from msgspec import Struct

from edgeward_runtimes import engines
from edgeward_runtimes.benchmark import measure
from edgeward_runtimes.bundle import Bundle, Release
from edgeward_runtimes.golden import check
from edgeward_runtimes.home import Home
from edgeward_runtimes.install import result, selftest
from edgeward_runtimes.install.result import Trial
from edgeward_runtimes.install.slots import Slots
from edgeward_runtimes.loading import open_release

ENGINES = ("litert", "onnxruntime", "openvino")


class ModelStatus(Struct, frozen=True):
    """An installed model: its releases, and the variant that runs here with the reason for it."""

    name: str
    release: str
    previous: str | None
    variant: str | None
    engine: str | None
    reason: str | None


class Status(Struct, frozen=True):
    """A device as it is now; `engines` are those that are installed."""

    edgeward_version: str
    python_version: str
    architecture: str
    home: str
    engines: tuple[str, ...]
    models: tuple[ModelStatus, ...]


class Examination(Struct, frozen=True):
    """Every variant of a bundle, proved and timed on this device."""

    trials: tuple[Trial, ...]


def status(home: Home) -> Status:
    """Say what is installed here."""
    names = sorted(folder.name for folder in home.models.glob("*") if (folder / "current").exists())
    return Status(
        edgeward_version=edgeward_version(),
        python_version=platform.python_version(),
        architecture=platform.machine(),
        home=str(home.root),
        engines=tuple(name for name in ENGINES if engines.missing_reason(name) is None),
        models=tuple(model_status(Slots(home, name)) for name in names),
    )


def model_status(slots: Slots) -> ModelStatus:
    """Say what one installed model is."""
    folder = slots.current()
    tested = result.read(folder)
    choice = tested.choice if tested else None
    return ModelStatus(
        name=slots.name,
        release=folder.name,
        previous=slots.target("previous"),
        variant=choice.id if choice else None,
        engine=choice.engine if choice else None,
        reason=choice.reason if choice else None,
    )


def examine(bundle_path: Path) -> Examination:
    """Prove and time every variant of a bundle here, without installing it."""
    with Bundle.open(bundle_path).unpacked() as release:
        return Examination(tuple(selftest.try_variant(release, variant) for variant in release.manifest.variants))


def try_variant(folder: Path, variant_id: str) -> Trial:
    """Prove and time one variant of an unpacked release in this process; EngineError when it cannot open."""
    release = Release.open(folder)
    golden = release.golden()
    start = time.perf_counter()
    with open_release(release, variant=variant_id) as model:
        load_s = time.perf_counter() - start
        verdict = check(variant_id, model, golden, release.manifest.golden.tolerance[variant_id])
        timing = measure(model, golden.inputs)
    return Trial(verdict, timing, load_s, _peak_rss_mb())


def edgeward_version() -> str:
    """The installed distribution's version."""
    try:
        return version("edgeward")
    except PackageNotFoundError:
        return "unknown"  # run from a folder that was copied and not installed


def _peak_rss_mb() -> float:
    """This process's own high-water mark; getrusage's would include the parent's from before exec."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0
