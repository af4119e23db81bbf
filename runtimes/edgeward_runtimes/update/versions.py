"""Which of two versions is the later one. Pure.

As Semantic Versioning 2.0 has it (section 11), for any version that a manifest may carry: numbers compare as numbers
and come before words; what follows the first dash makes an earlier version, so 2.0-rc1 < 2.0; what follows a plus
does not count; and 1.0 is 1.0.0.
"""

Part = tuple[bool, int, str]
Order = tuple[tuple[Part, ...], bool, tuple[Part, ...]]


def order(version: str) -> Order:
    """What to compare versions by."""
    core, dash, suffix = version.partition("+")[0].partition("-")
    parts = list(_parts(core))
    while len(parts) > 1 and parts[-1] == (False, 0, ""):
        parts.pop()
    return tuple(parts), not dash, _parts(suffix)


def _parts(text: str) -> tuple[Part, ...]:
    return tuple((False, int(part), "") if part.isdecimal() else (True, 0, part) for part in text.split("."))
