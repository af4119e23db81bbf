"""What a host asks of a device, and what the device answers: two metrics of bytes, MessagePack within.

A request travels in an NCMD as `metrics.REQUEST`; its answer in NDATA as `metrics.ANSWER`, which is an event and no
state: long ones in parts, each of which may be lost or repeated. Whoever asked knows the answer by the request's id.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

LARGEST_PART = 256 * 1024  # bytes of content in one answer


class Request(Struct, frozen=True):
    """Do `command` with `arguments`. Asked again with the same id, a device answers again and does nothing twice."""

    id: Annotated[str, Meta(min_length=1, max_length=64)]
    command: Annotated[str, Meta(min_length=1, max_length=64)]
    arguments: dict[str, Any] = {}


class Answer(Struct, frozen=True):
    """How it went. `content` is one of `parts` parts, numbered from 0, of what was asked for, if that is bytes."""

    id: Annotated[str, Meta(min_length=1, max_length=64)]
    ok: bool
    message: Annotated[str, Meta(max_length=2000)]
    part: Annotated[int, Meta(ge=0, lt=1_000_000)] = 0
    parts: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    content: Annotated[bytes, Meta(max_length=LARGEST_PART)] = b""


def encode(told: Request | Answer) -> bytes:
    """As the value of the metric."""
    return msgspec.msgpack.encode(told)


def decode_request(content: bytes) -> Request:
    """Read a request. Raises ValueError."""
    return msgspec.msgpack.decode(content, type=Request)


def decode_answer(content: bytes) -> Answer:
    """Read one part of an answer. Raises ValueError."""
    return msgspec.msgpack.decode(content, type=Answer)
