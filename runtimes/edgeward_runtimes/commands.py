"""What a device can be asked to do; `__main__` gives these a command line, the host's CLI calls it over a transport."""

import contextlib
import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from edgeward_runtimes import engines
from edgeward_runtimes.benchmark import measure
from edgeward_runtimes.bundle import Bundle
from edgeward_runtimes.golden import check
from edgeward_runtimes.home import Home
from edgeward_runtimes.install import journal, result, selftest
from edgeward_runtimes.install.installer import Installed
from edgeward_runtimes.install.journal import Change
from edgeward_runtimes.install.result import Trial
from edgeward_runtimes.install.slots import Slots
from edgeward_runtimes.loading import open_release
from edgeward_runtimes.release import Release

ENGINES = ("litert", "onnxruntime", "openvino")
_WORTH_MORE_THREADS = 0.9
_INCOMING_KEPT_S = 7 * 86_400


class ModelStatus(Struct, frozen=True):
    """An installed model: its releases, and the variant that runs here with the reason for it.

    `accelerators` were asked for, `runs_on` is what the self-test found, and `warning` says why they differ.
    """

    name: str
    release: str
    previous: str | None
    variant: str | None
    engine: str | None
    reason: str | None
    threads: int | None = None
    accelerators: tuple[str, ...] = ()
    runs_on: tuple[str, ...] = ()
    warning: str | None = None


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


class Held(Struct, frozen=True):
    """The release that was asked for, if it is current here and whole."""

    installed: Installed | None


class History(Struct, frozen=True):
    """What was done to a model here, the latest last."""

    changes: tuple[Change, ...]


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
    if tested is None:
        return ModelStatus(slots.name, folder.name, slots.target("previous"), None, None, None)
    choice = tested.choice
    trial = next(trial for trial in tested.trials if trial.check.id == choice.id)
    return ModelStatus(
        name=slots.name,
        release=folder.name,
        previous=slots.target("previous"),
        variant=choice.id,
        engine=choice.engine,
        reason=choice.reason,
        threads=choice.threads,
        accelerators=choice.accelerators,
        runs_on=trial.runs_on,
        warning=trial.warning,
    )


def history(home: Home, name: str) -> History:
    """Tell what was done to a model here. Raises NotInstalledError when no model can have that name."""
    return History(journal.changes(Slots(home, name).entries()))


def tidy(home: Home) -> None:
    """Remove what was sent here, but never installed, more than a week ago."""
    for leftover in (home.root / "incoming").glob("*"):
        with contextlib.suppress(OSError):
            if leftover.stat().st_mtime < time.time() - _INCOMING_KEPT_S:
                leftover.unlink()


def examine(bundle_path: Path) -> Examination:
    """Prove and time every variant of a bundle here, without installing it."""
    with Bundle.open(bundle_path).unpacked() as release:
        return Examination(tuple(selftest.try_variant(release, variant) for variant in release.manifest.variants))


def try_variant(folder: Path, variant_id: str, accelerators: tuple[str, ...] = ()) -> Trial:
    """Prove and time one variant of an unpacked release in this process; EngineError when it cannot open.

    On the CPU it is timed with one thread, and with more where there are cores for them.
    """
    release = Release.open(folder)
    golden = release.golden()
    first, *more = _thread_counts()
    start = time.perf_counter()
    with open_release(release, variant=variant_id, threads=first, accelerators=accelerators) as model:
        load_s = time.perf_counter() - start
        verdict = check(variant_id, model, golden, release.manifest.golden.tolerance[variant_id])
        best = Trial(
            check=verdict,
            timing=measure(model, golden.inputs),
            threads=first if "cpu" in model.placement.runs_on else None,
            runs_on=model.placement.runs_on,
            warning=model.placement.warning,
            load_s=load_s,
            peak_rss_mb=_peak_rss_mb(),
        )
    for threads in more if best.runs_on == ("cpu",) and verdict.passed else ():
        with open_release(release, variant=variant_id, threads=threads, accelerators=accelerators) as model:
            best = _faster(best, replace(best, threads=threads, timing=measure(model, golden.inputs)))
    return best


def _thread_counts() -> list[int]:
    """Numbers of threads worth timing here: 1, then powers of two up to the cores that this process may use."""
    cores = len(os.sched_getaffinity(0))
    return [1, *(count for count in (2, 4, 8) if count <= cores)]


def _faster(one: Trial, other: Trial) -> Trial:
    """The faster of two trials; more threads must pay for the cores that they take from others."""
    if one.timing is None or other.timing is None:
        return one
    return other if other.timing.p50_ms < _WORTH_MORE_THREADS * one.timing.p50_ms else one


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
