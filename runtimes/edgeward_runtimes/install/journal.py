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
    watching    the health window is open (`watching`); what the release had counted by then
    healthy     the window ended well

A rollback writes `begin`, `switched`, `done`. The rename of `current` is the moment that counts: an interrupted action
is carried to its end when `current` points at its release, and the links are put back when it does not (`previous` is
always linked first, and `placed` comes before both). So at every instant exactly one release is current, it is a whole
one, and what an application saw as current is not taken back.
"""

from typing import Literal

import msgspec
from msgspec import Struct

from edgeward_runtimes.install.health import Limits

Step = Literal["begin", "unpacked", "tested", "placed", "switched", "done", "failed", "watching", "healthy"]
Action = Literal["install", "rollback"]
Outcome = Literal["done", "failed", "under way"]
FINAL: tuple[Step, ...] = ("done", "failed", "watching", "healthy")


class Entry(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line.

    Attributes:
        at: Unix seconds.
        current, previous: The links before a `begin`.
        reason: Why it failed, or was begun.
        health: On an install's `begin`: how the release is watched after going live.
        counted: On `watching`: the release's counts by then, packed.
    """

    at: float
    step: Step
    release: str
    action: Action
    current: str | None = None
    previous: str | None = None
    reason: str | None = None
    health: Limits | None = None
    counted: bytes | None = None


class Recovery(Struct, frozen=True):
    """What makes the slots whole again after an interrupted action.

    `restore_links` says whether the links go back to `current` and `previous` (None: no link).
    """

    release: str
    action: Action
    restore_links: bool
    current: str | None
    previous: str | None


class Watch(Struct, frozen=True):
    """An open health window: the release, which one it replaced, since when (Unix seconds) and by which limits.

    `counted` is what the release had counted when the window was first attended to; None: not yet.
    """

    release: str
    replaced: str
    since: float
    limits: Limits
    counted: bytes | None
    was_live_before: bool


class Change(Struct, frozen=True):
    """An install or a rollback as people read it; `began` is Unix seconds, `health` how its window stands or ended."""

    began: float
    action: Action
    release: str
    replaced: str | None
    outcome: Outcome
    took_s: float
    reason: str | None
    health: str | None


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


def watch(entries: list[Entry]) -> Watch | None:
    """The health window that is open, if one is."""
    of_last = _last_change(entries)
    if not of_last:
        return None
    begin, steps = of_last[0], {entry.step: entry for entry in of_last}
    if begin.health is None or begin.current in (None, begin.release) or "done" not in steps or "healthy" in steps:
        return None
    return Watch(
        release=begin.release,
        replaced=str(begin.current),
        since=steps["done"].at,
        limits=begin.health,
        counted=steps["watching"].counted if "watching" in steps else None,
        was_live_before=any(entry.release == begin.release for entry in entries[: -len(of_last)]),
    )


def changes(entries: list[Entry]) -> tuple[Change, ...]:
    """What was done, the latest last."""
    begins = [index for index, entry in enumerate(entries) if entry.step == "begin"]
    ends = [*begins[1:], len(entries)]
    return tuple(_change(entries[begin:end]) for begin, end in zip(begins, ends, strict=True))


def _change(steps: list[Entry]) -> Change:
    begin = steps[0]
    end = next((entry for entry in steps if entry.step in ("done", "failed")), None)
    outcome: Outcome = "under way" if end is None else "done" if end.step == "done" else "failed"
    return Change(
        began=begin.at,
        action=begin.action,
        release=begin.release,
        replaced=begin.current,
        outcome=outcome,
        took_s=(end or steps[-1]).at - begin.at,
        reason=(end.reason if end is not None else None) or begin.reason,
        health=_health(begin, steps) if outcome == "done" else None,
    )


def _health(begin: Entry, steps: list[Entry]) -> str | None:
    if begin.health is None or begin.current in (None, begin.release):
        return None
    healthy = next((entry for entry in steps if entry.step == "healthy"), None)
    if healthy is not None:
        return healthy.reason or "healthy"
    return f"watched for {begin.health.window_s:g} s"


def _last_change(entries: list[Entry]) -> list[Entry]:
    begins = [index for index, entry in enumerate(entries) if entry.step == "begin"]
    return entries[begins[-1] :] if begins else []
