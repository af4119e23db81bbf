"""A generated part of a page: what stands between `<!-- NAME -->` and `<!-- /NAME -->` alone is rewritten."""

from pathlib import Path


def write_part(page: Path, name: str, part: str, introduction: str) -> None:
    """Replace the part in the page; where there is none yet, put it at the end, below an introduction."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    written = page.read_text() if page.exists() else ""
    before, found, rest = written.partition(begin)
    _, closed, after = rest.partition(end)
    if found and not closed:
        raise SystemExit(f"{page} has {begin} without {end}: mend it first")
    if not found:
        said = "" if introduction.strip() in written else f"{introduction.strip()}\n\n"
        before, after = f"{written.rstrip()}\n\n{said}".lstrip(), "\n"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(f"{before}{begin}\n{part.strip()}\n{end}{after}")


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table, its columns aligned for people who read it as text."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [header, tuple("-" * width for width in widths), *rows]
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines
    )
