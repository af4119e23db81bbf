"""python-tuf's client on this device: what the registry lists, proved, and what of it was asked for.

$EDGEWARD_HOME/trust/root.json    the root of trust, given at enrollment and never changed here
                    /registry     the registry's address, a line of text
                    /ca.pem       authorities that its HTTPS certificate must come from, where not the system's
                    /metadata/    what python-tuf has verified; it is how a rollback is noticed
$EDGEWARD_HOME/downloads/<name>/  files on their way

One process at a time brings the metadata up to date: python-tuf asks for that. Downloads keep nobody waiting.
"""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.api.metadata import Metadata, Root, Targets
from tuf.ngclient import Updater, UpdaterConfig

from edgeward_runtimes.durable import make_folder
from edgeward_runtimes.errors import NotEnrolledError, NotPublishedError
from edgeward_runtimes.home import Home
from edgeward_runtimes.update import published, refusals
from edgeward_runtimes.update.fetcher import HttpFetcher
from edgeward_runtimes.update.folder import FolderFetcher
from edgeward_runtimes.update.pace import Limits

_CONFIG = UpdaterConfig(app_user_agent="edgeward")


class Trust:
    """Where a device keeps whom it trusts."""

    def __init__(self, home: Home) -> None:
        self.folder = home.root / "trust"
        self.root = self.folder / "root.json"
        self.metadata = self.folder / "metadata"
        ca_file = self.folder / "ca.pem"
        self.ca_file = ca_file if ca_file.exists() else None

    def registry(self, url: str | None) -> str:
        """The registry's address: the one given, or the one of the enrollment. Raises NotEnrolledError."""
        try:
            return (url or (self.folder / "registry").read_text().strip()).rstrip("/")
        except FileNotFoundError:
            raise NotEnrolledError("This device knows no registry. Name one with --registry URL.") from None

    def anchor(self) -> bytes:
        """The root of trust. Raises NotEnrolledError."""
        try:
            return self.root.read_bytes()
        except FileNotFoundError:
            raise NotEnrolledError(
                f"{self.root} does not exist: this device trusts no registry yet. Enroll it, or put the registry's "
                "root.json there."
            ) from None

    def revoked(self) -> frozenset[str]:
        """Identifiers of keys that a root before the current one named, and the current one does not."""
        roots: list[Root] = []
        for path in (self.metadata / "root_history").glob("*.root.json"):
            with contextlib.suppress(RepositoryError, OSError):
                root = Metadata[Root].from_bytes(path.read_bytes()).signed
                roots += [root] if isinstance(root, Root) else []
        if not roots:
            return frozenset()
        latest = max(roots, key=lambda root: root.version)
        return frozenset(key for root in roots for key in root.keys) - frozenset(latest.keys)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Wait for whoever is looking, then keep others waiting."""
        make_folder(self.metadata)
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class Client:
    """A registry whose metadata was just verified."""

    def __init__(self, trust: Trust, fetcher: HttpFetcher | FolderFetcher, url: str) -> None:
        """Read and verify all metadata. Raises UpdateError, whose class says why it is refused."""
        anchor = trust.anchor()
        try:
            self._updater = Updater(
                str(trust.metadata),
                f"{url}/metadata",
                target_base_url=f"{url}/targets",
                fetcher=fetcher,
                config=_CONFIG,
                bootstrap=anchor,
            )
            self._updater.refresh()
            # What refresh has verified it has also written here.
            verified = (trust.metadata / "targets.json").read_bytes()
            self._targets = Metadata[Targets].from_bytes(verified).signed.targets
        except (RepositoryError, DownloadError) as error:
            raise refusals.explain(error, fetcher.document, trust.revoked()) from error
        self.releases = published.releases(self._targets)

    def lists(self, path: str) -> bool:
        """Whether the registry has such a target."""
        return path in self._targets

    def digest(self, path: str) -> str:
        """The signed SHA-256 of a target. Raises NotPublishedError when it was signed with none."""
        digest = self._targets[path].hashes.get("sha256")
        if digest is None:
            raise NotPublishedError(f"{path} was signed without a SHA-256. Publish it again.")
        return digest

    def download(self, path: str, place: Path) -> None:
        """Have a listed target at `place`, its length and digests verified. Raises UpdateError."""
        target = self._targets[path]
        if self._updater.find_cached_target(target, str(place)) is not None:
            return
        try:
            self._updater.download_target(target, str(place))
        except (RepositoryError, DownloadError) as error:
            raise refusals.explain_target(error, path) from error

    def is_signed(self, path: str, place: Path) -> bool:
        """Whether the file at `place` is the target of that path."""
        return self._updater.find_cached_target(self._targets[path], str(place)) is not None


def online(home: Home, url: str | None, downloads: Path, limits: Limits) -> Client:
    """The registry over HTTP; what is cut short waits in `downloads`. Raises UpdateError."""
    trust = Trust(home)
    with trust.locked():
        return Client(trust, HttpFetcher(downloads, limits, trust.ca_file), trust.registry(url))


def beside(home: Home, metadata: Path | None) -> Client:
    """The registry by metadata alone: the files in `metadata`, or those verified here last. Raises UpdateError."""
    trust = Trust(home)
    with trust.locked():
        return Client(trust, FolderFetcher(metadata or trust.metadata), "folder")
