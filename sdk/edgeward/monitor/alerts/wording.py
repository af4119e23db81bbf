"""A notification as people and programs read it (pure)."""

import json
from typing import Any

import msgspec

from edgeward.monitor.alerts.outbox import Told, Word


def title(word: Word) -> str:
    """One line: `[critical] offline: 1 firing (f/press-7: offline)`."""
    counts = [f"{count} {state}" for count, state in ((word.firing, "firing"), (word.resolved, "resolved")) if count]
    first = f" ({_line(word.alerts[0])})" if len(word.alerts) == 1 else ""
    return f"[{word.severity}] {word.rule}: {', '.join(counts)}{first}"


def text(word: Word) -> str:
    """All that are listed, a line each."""
    lines = [title(word), "", *(f"{told.state:<9} {_line(told)}" for told in word.alerts)]
    more = word.firing + word.resolved - len(word.alerts)
    return "\n".join([*lines, *([f"… and {more} more"] if more > 0 else []), ""])


def document(word: Word) -> bytes:
    """JSON; the same bytes for every attempt."""
    content: dict[str, Any] = {"schema": 1, "title": title(word), **msgspec.to_builtins(word)}
    return json.dumps(content, separators=(",", ":")).encode()


def _line(told: Told) -> str:
    subject = "/".join(part for part in (told.fleet, told.device, told.model) if part)
    return f"{subject}: {told.message}" if subject else told.message
