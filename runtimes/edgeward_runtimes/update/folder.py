"""Metadata that lies in a folder, as python-tuf fetches it: beside a bundle, or what this device verified before."""

from collections.abc import Iterator
from pathlib import Path

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface

_NOT_FOUND = 404


class FolderFetcher(FetcherInterface):
    """Reads the file of an address's last part; `document` is the last one that was read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.document = b""

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """The file, within python-tuf's limits. Raises DownloadHTTPError, as a server would, when there is none."""
        self.document = super().download_bytes(url, max_length)
        return self.document

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            return iter([(self._folder / url.rpartition("/")[2]).read_bytes()])
        except FileNotFoundError as error:
            raise DownloadHTTPError(f"{error.filename} does not exist", _NOT_FOUND) from error
