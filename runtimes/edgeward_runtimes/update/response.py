"""One answer of a web server, read as it comes: paced, timed, and never unpacked.

What the server compressed on its own stays as it is, so that no bytes can multiply here.
"""

import functools
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from tuf.api.exceptions import DownloadHTTPError

from edgeward_runtimes.errors import (
    EndlessDownloadError,
    RegistryUnreachableError,
    TruncatedDownloadError,
    one_line,
)
from edgeward_runtimes.update.pace import Limits, Pace

_OK, _PARTIAL, _NO_SUCH_RANGE = 200, 206, 416
_BUSY = frozenset({408, 429, 500, 502, 503, 504})
# Tries are counted by the fetcher, which knows what has come already.
_RETRIES = urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=3)


class InterruptedTransferError(Exception):
    """Worth another try. `cut` says that the connection broke in the middle of a file."""

    def __init__(self, reason: str, cut: bool = False) -> None:
        super().__init__(reason)
        self.cut = cut


def read(url: str, offset: int, limits: Limits, ca_file: Path | None) -> tuple[int, Iterator[bytes]]:
    """Ask for a file from `offset` on: where the answer begins (0 from a server without ranges), and its bytes.

    Raises:
        InterruptedTransferError: Now or while the bytes are read: the connection failed, or the server is busy.
        DownloadHTTPError: The server refuses it, e.g. 404.
        UpdateError: There is no such range, no such address, or the bytes come too slowly.
    """
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    try:
        response = _pool(url, ca_file).request(
            "GET", url, headers=headers, preload_content=False, timeout=limits.timeout_s, retries=_RETRIES
        )
    except urllib3.exceptions.LocationValueError as error:
        raise RegistryUnreachableError(f"{url} is no address of a registry: {one_line(error)}.") from error
    except urllib3.exceptions.HTTPError as error:
        raise InterruptedTransferError(one_line(error)) from error
    if response.status not in (_OK, _PARTIAL):
        response.close()
        raise _refusal(url, response.status, offset)
    return (offset if _continues(response, offset) else 0), _chunks(response, url, limits)


def _pool(url: str, ca_file: Path | None) -> urllib3.PoolManager:
    """The way there: straight, or through the proxy that the environment names."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    is_straight = proxy is None or proxy_bypass(parts.hostname or "")
    return _connections(None if is_straight else proxy, str(ca_file) if ca_file else None)


@functools.lru_cache(maxsize=4)
def _connections(proxy: str | None, ca_file: str | None) -> urllib3.PoolManager:
    """Connections that are used again: an update asks for several files of one server."""
    return urllib3.ProxyManager(proxy, ca_certs=ca_file) if proxy else urllib3.PoolManager(ca_certs=ca_file)


def _refusal(url: str, status: int, offset: int) -> Exception:
    if status in _BUSY:
        return InterruptedTransferError(f"it answered {status}")
    if status == _NO_SUCH_RANGE:
        return TruncatedDownloadError(f"{url} ends before byte {offset}, which is short of what was signed.")
    return DownloadHTTPError(f"{url} answered {status}", status)


def _continues(response: urllib3.BaseHTTPResponse, offset: int) -> bool:
    """Whether the answer begins where we stopped."""
    return response.status == _PARTIAL and response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")


def _chunks(response: urllib3.BaseHTTPResponse, url: str, limits: Limits) -> Iterator[bytes]:
    pace = Pace(limits, time.monotonic())
    try:
        while chunk := response.read1(limits.chunk_bytes, decode_content=False):
            wait_s = pace.after(len(chunk), time.monotonic())
            if pace.too_slow(time.monotonic()):
                raise EndlessDownloadError(f"{url} comes too slowly to ever end. Try again from another network.")
            yield chunk
            time.sleep(wait_s)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise InterruptedTransferError(one_line(error), cut=True) from error
    finally:
        response.close()
