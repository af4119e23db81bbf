"""`load`: from a bundle's path or an installed model's name to a model that predicts."""

import os
import re
import warnings
from typing import TYPE_CHECKING

from edgeward_runtimes import engines
from edgeward_runtimes.choosing import choose
from edgeward_runtimes.errors import ConfigError, EdgewardError, InputError
from edgeward_runtimes.latency.recorder import Recorder
from edgeward_runtimes.manifest import NAME_PATTERN, Manifest
from edgeward_runtimes.model import Choice, Model
from edgeward_runtimes.quick_start import Uncollected
from edgeward_runtimes.release import Release, in_use

if TYPE_CHECKING:
    from edgeward_runtimes.install.result import SelfTest

_WATCH_INTERVAL_S = 0.5


def load(
    source: str | os.PathLike[str],
    *,
    variant: str | None = None,
    engine: str | None = None,
    threads: int | None = None,
    watch: bool = False,
) -> Model:
    """Load a model to predict with.

    Args:
        source: A bundle's path (`model.edge`), or the name of a model installed on this device.
        variant: A variant's id; by default the best one that runs here (see `Model.variant`).
        engine: An engine's name; `EDGEWARD_ENGINE` does the same from outside.
        threads: Threads for one prediction; by default `EDGEWARD_THREADS`, else what the install timed as fastest, else
            the engine's own choice.
        watch: Follow the installed model: move to a new release when one goes live, between two predictions.

    `EDGEWARD_ACCELERATORS` names what to try before the CPU in place of what the install was asked for: tensorrt, cuda,
    openvino, gpu, npu, separated by commas, or cpu for none of them. `EDGEWARD_OBSERVE=0` keeps an installed model's
    inputs and outputs from being looked at for drift (see `Model.observe`).

    Raises:
        BundleError: When the bundle is damaged.
        NotInstalledError: When no model of that name is installed.
        InputError: When the bundle has no such variant or engine.
        EngineError: When no engine for it is installed here, or it fails to open.
    """
    engine = engine or os.environ.get("EDGEWARD_ENGINE") or None
    threads = threads if threads is not None else _threads_from_environment()
    with Uncollected():
        if is_bundle(source):
            if watch:
                raise InputError(f"watch=True follows an installed model; {source} is a file. Pass its name.")
            return _load_bundle(source, variant, engine, threads)
        installed = _Installed(os.fspath(source), variant, engine, threads)
        model, folder = installed.open()
    if watch:
        _watch(model, installed, folder)
    return model


def is_bundle(source: str | os.PathLike[str]) -> bool:
    """Whether `load` takes this for a bundle's path, and not for an installed model's name."""
    name = os.fspath(source)
    return name.endswith(".edge") or not re.search(NAME_PATTERN, name) or os.path.isfile(name)


def open_release(
    release: Release,
    *,
    variant: str | None = None,
    engine: str | None = None,
    threads: int | None = None,
    accelerators: tuple[str, ...] | None = None,
    recorder: Recorder | None = None,
) -> Model:
    """Open a variant of an unpacked release; counts in private memory unless a recorder is given."""
    from edgeward_runtimes.install import result

    choice = _choose(release.manifest, result.read(release.place("")), variant, engine, threads, accelerators)
    return _open(release, choice, recorder)


def _load_bundle(path: str | os.PathLike[str], variant: str | None, engine: str | None, threads: int | None) -> Model:
    from edgeward_runtimes.bundle import Bundle

    bundle = Bundle.open_sealed(path)
    choice = _choose(bundle.manifest, None, variant, engine, threads)
    # An engine has read or mapped its files once it is open, so the unpacked copy may go.
    with bundle.unpacked(bundle.manifest.variant(choice.id)) as release:
        return _open(release, choice)


def _choose(
    manifest: Manifest,
    tested: "SelfTest | None",
    variant: str | None,
    engine: str | None,
    threads: int | None,
    accelerators: tuple[str, ...] | None = None,
) -> Choice:
    return choose(
        manifest,
        engines.missing_reason,
        variant=variant,
        engine=engine,
        tested=tested,
        threads=threads,
        accelerators=_accelerators_from_environment() if accelerators is None else accelerators,
    )


def _open(release: Release, choice: Choice, recorder: Recorder | None = None) -> Model:
    recorder = recorder or Recorder(release.manifest.name, "", folder=None)
    model = Model.open(release, choice, recorder)
    if model.placement.warning is not None:
        warnings.warn(model.placement.warning, RuntimeWarning, stacklevel=4)
    return model


class _Installed:
    """An installed model as one caller asked for it: enough to open it again when its release changes."""

    def __init__(self, name: str, variant: str | None, engine: str | None, threads: int | None):
        from edgeward_runtimes import home

        root, run = home.roots()
        self._root, self._run, self._latency = root, run, f"{run}/{home.LATENCY}"
        self._name = name
        self._variant, self._engine, self._threads = variant, engine, threads

    def current(self) -> str:
        """The folder of the release in use. Raises NotInstalledError."""
        return in_use(self._root, self._name)

    def open(self) -> tuple[Model, str]:
        """The model, and the folder of the release that it is."""
        folder = self.current()
        recorder = Recorder(self._name, os.path.basename(folder), self._latency)
        try:
            release = Release.open(folder)
            model = open_release(
                release, variant=self._variant, engine=self._engine, threads=self._threads, recorder=recorder
            )
            if os.environ.get("EDGEWARD_OBSERVE") != "0":
                model.observe_under(self._root, self._run)
            return model, folder
        except EdgewardError:
            recorder.close()
            raise


def _watch(model: Model, installed: _Installed, opened: str) -> None:
    """Follow `current` on a daemon thread until the model is closed; `opened` is the release that it is now."""
    import threading

    stop = threading.Event()

    def follow(seen: str) -> None:
        while not stop.wait(_WATCH_INTERVAL_S):
            try:
                if installed.current() != seen:
                    moved, seen = installed.open()
                    model.move_to(moved)
            except (EdgewardError, OSError):
                continue  # not openable yet or any more: stay on the release that works, look again

    thread = threading.Thread(target=follow, args=(opened,), name="edgeward-watch", daemon=True)
    model.on_close(stop.set)
    thread.start()


def _accelerators_from_environment() -> tuple[str, ...] | None:
    value = os.environ.get("EDGEWARD_ACCELERATORS")
    if not value:
        return None
    from edgeward_runtimes.engines import accelerators

    return accelerators.parse(value)


def _threads_from_environment() -> int | None:
    value = os.environ.get("EDGEWARD_THREADS")
    if not value:
        return None
    if not value.isdecimal() or int(value) == 0:
        raise ConfigError(f"EDGEWARD_THREADS must be a whole number of threads, 1 or more; it is {value!r}.")
    return int(value)
