"""The install journal: what was begun, what was done, and what to do after a crash at any instant.

Pure: entries in, a recovery out; `slots` does the files. The journal is append-only JSON lines, one entry a step,
each on the disk before its step begins to change anything. A torn last line (power loss) counts as not written.

An install writes, in this order:

    begin       the release, and where `current` and `previous` point
    unpacked    every file of the release is in `releases/.incoming-<release>`, checked and fsynced
    tested      the self-test passed there, on this device's engines
    placed      the folder has its final name
    switched    `previous` and `current` point where they shall
    done

A rollback writes `begin`, `switched`, `done`. The rename of `current` is the moment that counts: an interrupted action
is carried to its end when `current` points at its release, and the links are put back when it does not (`previous` is
always linked first, and `placed` comes before both). So at every instant exactly one release is current, it is a whole
one, and what an application saw as current is not taken back.
"""

from typing import Literal

import msgspec
from msgspec import Struct

Step = Literal["begin", "unpacked", "tested", "placed", "switched", "done", "failed"]
Action = Literal["install", "rollback"]
FINAL: tuple[Step, ...] = ("done", "failed")


class Entry(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line. `at` is Unix seconds; `current` and `previous` are the links before a `begin`."""

    at: float
    step: Step
    release: str
    action: Action
    current: str | None = None
    previous: str | None = None
    reason: str | None = None


class Recovery(Struct, frozen=True):
    """What makes the slots whole again after an interrupted action.

    `restore_links` says whether the links go back to `current` and `previous` (None: no link).
    """

    release: str
    action: Action
    restore_links: bool
    current: str | None
    previous: str | None


def decode(content: bytes) -> list[Entry]:
    """Read the journal; a torn or damaged line is passed over."""
    entries = []
    for line in content.splitlines():
        try:
            entries.append(msgspec.json.decode(line, type=Entry))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return entries


def encode(entry: Entry) -> bytes:
    """Write one line. It begins a new one as well, should the line before be torn."""
    return b"\n" + msgspec.json.encode(entry) + b"\n"


def recovery(entries: list[Entry], current: str | None) -> Recovery | None:
    """What an interrupted action has left to do, or None when the last one ended.

    `current` is the release that the link points at now.
    """
    if not entries or entries[-1].step in FINAL:
        return None
    begin = next((entry for entry in reversed(entries) if entry.step == "begin"), None)
    if begin is None:
        return None
    return Recovery(
        release=begin.release,
        action=begin.action,
        restore_links=current != begin.release,
        current=begin.current,
        previous=begin.previous,
    )
