"""An unpacked, verified bundle: the folder that engines open their artifacts from."""

import os
import re
from typing import TYPE_CHECKING

from edgeward_runtimes import manifest as manifests
from edgeward_runtimes.errors import MissingFileError, NotInstalledError
from edgeward_runtimes.manifest import NAME_PATTERN, NAME_RULE, Manifest, Variant

if TYPE_CHECKING:
    from pathlib import Path

    from edgeward_runtimes.samples import GoldenSamples

MANIFEST = "manifest.json"


class Release:
    """A manifest, and the folder that holds its files. `id` is its `<version>-<digest8>`."""

    def __init__(self, folder: "str | os.PathLike[str]", manifest: Manifest, release_id: str) -> None:
        self._folder = os.fspath(folder)
        self.manifest = manifest
        self.id = release_id

    @classmethod
    def open(cls, folder: "str | os.PathLike[str]") -> "Release":
        """Read an unpacked release's manifest. Raises BundleError when there is none."""
        folder = os.fspath(folder)
        try:
            with open(f"{folder}/{MANIFEST}", "rb") as stream:
                manifest = manifests.decode(stream.read(), folder)
        except OSError as error:
            raise MissingFileError(f"{folder} holds no readable {MANIFEST}: {error.strerror}.") from error
        return cls(folder, manifest, os.path.basename(folder.rstrip("/")))

    @property
    def folder(self) -> "Path":
        """The folder."""
        from pathlib import Path  # 4 ms that a plain prediction must not pay for

        return Path(self._folder)

    def artifact(self, variant: Variant) -> "Path":
        """The file that the variant's engine opens: the first one declared."""
        return self.folder / variant.files[0].path

    def place(self, name: str) -> str:
        """Where a file or folder of the release lies, as `open` and the engines take it."""
        return f"{self._folder}/{name}"

    def golden(self) -> "GoldenSamples":
        """The golden samples, read from disk. Raises BundleError when they are not of the manifest's tensors."""
        from edgeward_runtimes.samples import GoldenSamples

        content = (self.folder / self.manifest.golden.path).read_bytes()
        return GoldenSamples.decode(content, self.manifest, self._folder)


def in_use(root: str, name: str) -> str:
    """The folder of the release of an installed model that is current. Raises NotInstalledError."""
    check_name(name)
    folder = f"{root}/models/{name}"
    try:
        return os.path.join(folder, os.readlink(f"{folder}/current"))
    except (FileNotFoundError, NotADirectoryError):
        raise NotInstalledError(
            f"No model {name!r} is installed under {root}. Install one with: edgeward flash BUNDLE DEVICE_URL"
        ) from None


def check_name(name: str) -> None:
    """Raises NotInstalledError when no model can have that name."""
    if not re.search(NAME_PATTERN, name):
        raise NotInstalledError(f"{name!r} is not a model's name: {NAME_RULE}.")
