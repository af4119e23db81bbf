"""All that was observed on a device, of each model's latest release: living processes' files, and what dead ones left.

A file whose owner is dead is added to the store, which remembers its name until the file is removed: the next start may
find it again, and removes it only. One process does this at a time; it is the one that holds the counters (see
`latency.fold`). What is observed is a sample: of what living processes counted, a loss of power takes it along.
"""

import contextlib
import logging
import os
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from edgeward_runtimes.durable import write_atomically
from edgeward_runtimes.errors import NotInstalledError
from edgeward_runtimes.home import Home
from edgeward_runtimes.latency.recorder import is_abandoned
from edgeward_runtimes.observation import files, settings
from edgeward_runtimes.observation import reference as references
from edgeward_runtimes.observation.reference import Reference
from edgeward_runtimes.observation.tally import Tally
from edgeward_runtimes.release import in_use

_log = logging.getLogger("edgeward.observation")
_File = tuple[str, files.Header, Tally]  # by its name


class Observed(Struct, frozen=True):
    """What was observed of one release."""

    release: str
    tally: Tally


class _State(Struct, frozen=True, forbid_unknown_fields=True):
    models: dict[str, Observed] = {}
    folded: frozenset[str] = frozenset()


class ObservationStore:
    """A device's observations: `observations.msgpack` under its home."""

    def __init__(self, home: Home) -> None:
        """Open the store; a damaged one begins anew."""
        self._home = home
        self._folder = Path(settings.counted(home.run))
        self._path = home.root / "observations.msgpack"
        self._references: dict[str, tuple[str, Reference | None]] = {}
        self._state = self._load()

    def collect(self) -> dict[str, Observed]:
        """Add what dead processes left; gives each model's observations, living processes' included. Raises OSError."""
        living, dead = self._read_all()
        models, folded = self._state.models, self._state.folded
        for name, header, tally in dead:
            if name not in folded:
                models, folded = self._added(models, header, tally), folded | {name}
        if dead:
            self._keep(models, folded & {name for name, _, _ in dead})
            for name, _, _ in dead:
                (self._folder / name).unlink(missing_ok=True)
        for _, header, tally in living:
            models = self._added(models, header, tally)
        return {name: each for name, each in models.items() if self._counts(name, each.release, each.tally)}

    def reference(self, model: str, release: str) -> Reference | None:
        """What a release's bundle saw; None where it does not say."""
        known = self._references.get(model)
        if known is None or known[0] != release:
            path = self._home.models / model / "releases" / release / references.FILE
            found = None
            with contextlib.suppress(OSError, ValueError):
                found = references.decode(path.read_bytes())
            known = self._references[model] = (release, found)
        return known[1]

    def _read_all(self) -> tuple[list[_File], list[_File]]:
        """The files of living and of dead processes; one that cannot be read is put aside."""
        living: list[_File] = []
        dead: list[_File] = []
        for path in sorted(self._folder.glob(f"*{files.SUFFIX}")):
            is_dead = is_abandoned(path)
            try:
                header, tally = files.read(path)
            except FileNotFoundError:
                continue
            except ValueError as error:
                _log.warning("%s is put aside: %s", path, error)
                path.rename(path.with_suffix(".damaged"))
                continue
            (dead if is_dead else living).append((path.name, header, tally))
        return living, dead

    def _added(self, models: dict[str, Observed], header: files.Header, tally: Tally) -> dict[str, Observed]:
        if not self._counts(header.model, header.release, tally):
            return models
        before = models.get(header.model)
        if before is None or before.release != header.release or before.tally.reset != tally.reset:
            before = Observed(header.release, Tally())
        return {**models, header.model: Observed(header.release, before.tally.merge(tally))}

    def _counts(self, model: str, release: str, tally: Tally) -> bool:
        """Whether it is of the release in use, and of after the last reset."""
        try:
            current = os.path.basename(in_use(str(self._home.root), model))  # noqa: PTH119 (it is a string)
        except (NotInstalledError, OSError):  # files are what applications make them, names as well
            return False
        return release == current and tally.reset == settings.read(self._home.root, model).reset

    def _load(self) -> _State:
        try:
            return msgspec.msgpack.decode(self._path.read_bytes(), type=_State)
        except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError):
            return _State()

    def _keep(self, models: dict[str, Observed], folded: frozenset[str]) -> None:
        state = replace(self._state, models=models, folded=folded)
        write_atomically(self._path, msgspec.msgpack.encode(state))
        self._state = state
