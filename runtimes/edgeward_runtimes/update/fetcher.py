"""The registry over HTTP, as python-tuf fetches from it.

Rules kept here, whatever the server does:

- No more bytes are taken than were signed; metadata, whose length need not be signed, has python-tuf's own limits.
- A file that is cut short goes on where it stopped (RFC 9110, section 14: Range), also after a restart: what came of
  it lies in the downloads folder under its own name, which begins with the signed digest of its content.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TypeVar

from tuf.ngclient import FetcherInterface

from edgeward_runtimes.errors import EndlessDownloadError, RegistryUnreachableError, TruncatedDownloadError
from edgeward_runtimes.update import response
from edgeward_runtimes.update.pace import Limits
from edgeward_runtimes.update.response import InterruptedTransferError

_log = logging.getLogger("edgeward.update")
T = TypeVar("T")


class HttpFetcher(FetcherInterface):
    """Metadata and targets; `document` is the last metadata that was read."""

    def __init__(self, downloads: Path, limits: Limits, ca_file: Path | None = None) -> None:
        self._downloads = downloads
        self._limits = limits
        self._ca_file = ca_file
        self.document = b""

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Metadata, at most `max_length` bytes of it.

        Raises:
            DownloadHTTPError: The server refuses it, e.g. 404.
            UpdateError: It is too long or too slow, or the registry cannot be reached.
        """
        self.document = self._trying(lambda: self._whole(url, max_length), lambda: 0, url)
        return self.document

    @contextlib.contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """A target of exactly `max_length` bytes, gone on with where it was cut. It is removed after use.

        Raises:
            DownloadHTTPError, UpdateError: As `download_bytes`; also when it ends too early.
        """
        self._downloads.mkdir(parents=True, exist_ok=True)
        part = self._downloads / f"{url.rpartition('/')[2]}.part"
        self._trying(lambda: self._continue(url, part, max_length), lambda: _size(part), url)
        try:
            with part.open("rb") as stream:
                yield stream
        finally:
            part.unlink(missing_ok=True)

    def _fetch(self, url: str) -> Iterator[bytes]:
        return response.read(url, 0, self._limits, self._ca_file)[1]

    def _whole(self, url: str, limit: int) -> bytes:
        content = bytearray()
        for chunk in self._fetch(url):
            content += chunk
            _check_room(len(content), limit, url)
        return bytes(content)

    def _continue(self, url: str, part: Path, length: int) -> None:
        """Append what is missing of a file; what cannot become the signed file is removed."""
        if part.exists() and _size(part) == length:
            return
        try:
            begins_at, chunks = response.read(url, _size(part), self._limits, self._ca_file)
            with part.open("r+b" if begins_at else "wb") as stream:
                stream.seek(begins_at)
                for chunk in chunks:
                    _check_room(stream.tell() + len(chunk), length, url)
                    stream.write(chunk)
            if _size(part) != length:
                raise TruncatedDownloadError(
                    f"{url} ends after {_size(part)} bytes; {length} were signed. Publish it again."
                )
        except (EndlessDownloadError, TruncatedDownloadError):
            part.unlink(missing_ok=True)
            raise

    def _trying(self, attempt: Callable[[], T], progress: Callable[[], int], url: str) -> T:
        """Try until it works, or as often in a row as the limits say without much new."""
        failures, best = 0, progress()
        while True:
            try:
                return attempt()
            except InterruptedTransferError as error:
                came = progress() - best
                failures, best = (1, progress()) if came >= self._limits.chunk_bytes else (failures + 1, best)
                if failures >= self._limits.attempts:
                    kind = TruncatedDownloadError if error.cut else RegistryUnreachableError
                    raise kind(f"{url} could not be fetched in {failures} tries: {error}. Try again later.") from error
                pause_s = self._limits.pause_s * 2 ** (failures - 1)
                _log.info("%s: %s; trying again in %.3g s", url, error, pause_s)
                time.sleep(pause_s)


def _check_room(size: int, limit: int, url: str) -> None:
    if size > limit:
        raise EndlessDownloadError(f"{url} goes on past the {limit} bytes that it may have. Nothing of it was kept.")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
