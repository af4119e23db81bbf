"""One model's place on a device: its releases, the links `current` and `previous`, its journal.

models/<name>/releases/<version>-<digest8>/   whole, verified releases
models/<name>/current, previous               relative symbolic links, each swapped by one rename
models/<name>/journal.jsonl                   see `journal`
models/<name>/.lock                           one install or rollback at a time
"""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from edgeward_runtimes.durable import fsync_folder, link_atomically, make_folder, write_atomically
from edgeward_runtimes.errors import InstallError
from edgeward_runtimes.home import Home
from edgeward_runtimes.install import journal
from edgeward_runtimes.install.journal import Entry
from edgeward_runtimes.release import check_name, in_use

INCOMING = ".incoming-"
_JOURNAL_BYTES = 512 * 1024
_KEPT_ENTRIES = 1000


class Slots:
    """The releases of one model."""

    def __init__(self, home: Home, name: str) -> None:
        """Raises NotInstalledError when no model can have that name."""
        check_name(name)
        self.name = name
        self._root = str(home.root)
        self.folder = home.models / name
        self.releases = self.folder / "releases"
        self._journal = self.folder / "journal.jsonl"

    def current(self) -> Path:
        """The folder of the release in use. Raises NotInstalledError."""
        return Path(in_use(self._root, self.name))

    def previous(self) -> Path | None:
        """The folder of the release before, if there is one."""
        return self._linked("previous")

    def entries(self) -> list[Entry]:
        """The journal so far."""
        try:
            return journal.decode(self._journal.read_bytes())
        except FileNotFoundError:
            return []

    def journal_size(self) -> int:
        """The journal's bytes: unless it was trimmed, the same number means the same content."""
        try:
            return self._journal.stat().st_size
        except FileNotFoundError:
            return 0

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock, and first make whole what an interrupted change left.

        Raises:
            InstallError: When another process is changing this model.
        """
        make_folder(self.releases)
        lock = os.open(self.folder / ".lock", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InstallError(f"{self.name} is being changed by another process. Try again later.") from None
            self.recover()
            self._trim()
            yield
        finally:
            os.close(lock)

    def note(self, entry: Entry) -> None:
        """Append to the journal; on the disk when this returns."""
        is_new = not self._journal.exists()
        with self._journal.open("ab") as stream:
            stream.write(journal.encode(entry))
            stream.flush()
            os.fsync(stream.fileno())
        if is_new:
            fsync_folder(self.folder)

    def link(self, name: str, target: str | None) -> None:
        """Point `current` or `previous` at a release's name; None removes the link."""
        if target is None:
            (self.folder / name).unlink(missing_ok=True)
            fsync_folder(self.folder)
        else:
            link_atomically(self.folder / name, f"releases/{target}")

    def target(self, name: str) -> str | None:
        """The release's name that a link points at."""
        folder = self._linked(name)
        return folder.name if folder is not None else None

    def remove(self, release: str) -> None:
        """Remove a release's folder; it first loses its name, so that none is ever found half-removed."""
        folder = self.releases / release
        doomed = self.releases / f"{INCOMING}removed-{release}"
        shutil.rmtree(doomed, ignore_errors=True)
        if folder.exists():
            folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
        fsync_folder(self.releases)

    def recover(self, reason: str = "interrupted") -> None:
        """Make whole what a change left half-done; `reason` goes into the journal."""
        pending = journal.recovery(self.entries(), self.target("current"))
        if pending is not None:
            if pending.restore_links:
                self.link("current", pending.current)
                self.link("previous", pending.previous)
            self.note(
                Entry(
                    at=time.time(),
                    step="failed" if pending.restore_links else "done",
                    release=pending.release,
                    action=pending.action,
                    reason=reason if pending.restore_links else None,
                )
            )
        for leftover in self.releases.glob(f"{INCOMING}*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def _trim(self) -> None:
        """Forget the oldest entries of a journal that has grown too long."""
        if self.journal_size() > _JOURNAL_BYTES:
            kept = self.entries()[-_KEPT_ENTRIES:]
            write_atomically(self._journal, b"".join(map(journal.encode, kept)))

    def _linked(self, name: str) -> Path | None:
        try:
            target = (self.folder / name).readlink()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return self.folder / target
