"""Reading a request's body within its limit: what is too large is refused before it is held in memory.

It is answered at once, and what still comes of it is thrown away for a while: most clients read an answer only when
they have sent all, and would see a broken connection instead.
"""

import asyncio
import contextlib
import zlib

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS
_DISCARD_S = 5.0
_LONGEST_LENGTH = 18  # digits; Python refuses to read a number of thousands of them


class TooLargeError(HTTPException):
    """The body has more bytes than the limit, packed or unpacked."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            413,
            f"The request has more than {limit_bytes} bytes. Send fewer samples at once, or serve with a larger "
            "--max-request-bytes.",
            {"connection": "close"},
        )


class EarlyResponse(Response):
    """An answer to a request that was not read to its end."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, whole, and throw away what comes of the request before the connection is closed."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_discard(receive), _DISCARD_S)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _discard(receive: Receive) -> None:
    while (await receive()).get("more_body"):  # the end of the request and the client's going have none
        pass


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """Read the body, unpacked where it came compressed.

    Raises:
        TooLargeError: When it declares, sends or unpacks to more than the limit.
        HTTPException: 415 for another compression; 400 when it cannot be unpacked.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > _LONGEST_LENGTH or int(declared) > limit_bytes):
        raise TooLargeError(limit_bytes)
    chunks = []
    size_bytes = 0
    async for chunk in request.stream():
        size_bytes += len(chunk)
        if size_bytes > limit_bytes:
            raise TooLargeError(limit_bytes)
        chunks.append(chunk)
    body = b"".join(chunks)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        return body
    if encoding not in ("gzip", "deflate"):
        raise HTTPException(415, f"Content-Encoding {encoding!r} is not read here; send gzip, deflate or none.")
    return _unpacked(body, limit_bytes)


def _unpacked(body: bytes, limit_bytes: int) -> bytes:
    unpacker = zlib.decompressobj(_ZLIB_OR_GZIP)
    try:
        unpacked = unpacker.decompress(body, limit_bytes + 1)
    except zlib.error as error:
        raise HTTPException(400, f"The compressed body is damaged: {error}.") from None
    if len(unpacked) > limit_bytes:
        raise TooLargeError(limit_bytes)
    if not unpacker.eof or unpacker.unused_data:
        raise HTTPException(400, "The compressed body is damaged: it ends too early, or something follows it.")
    return unpacked
