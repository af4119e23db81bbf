"""What all pages share: frame, tiles, colours, and how numbers and times are written."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from nicegui import ui

REFRESH_S = 1.0
NOT_INSTALLED = "not installed"
BLUE, AMBER, RED, SLATE = "#2563eb", "#d97706", "#dc2626", "#64748b"
FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#2563eb"/>'
    '<path d="M9 10h14M9 16h9M9 22h14" stroke="white" stroke-width="3" stroke-linecap="round"/></svg>'
)
_STYLE = """
<style>
  body { background: #f6f8fb; font-family: system-ui, -apple-system, "Segoe UI", sans-serif; }
  body.body--dark { background: #0f172a; }
  .panel { background: white; border: 1px solid #e5e9f0; border-radius: 12px; box-shadow: none; }
  .body--dark .panel { background: #1e293b; border-color: #334155; }
  .q-table th { font-size: 12px; font-weight: 600; color: #64748b; }
  .q-table td { font-size: 14px; font-variant-numeric: tabular-nums; }
  .muted { color: #64748b; }
  .body--dark .muted { color: #94a3b8; }
  .number { font-variant-numeric: tabular-nums; }
</style>
"""


@contextmanager
def frame(*crumbs: str) -> Iterator[None]:
    """A page: the bar at the top with the way back to the fleet, and the content below it."""
    ui.add_head_html(_STYLE)
    ui.colors(primary=BLUE)
    with ui.column().classes("w-full max-w-screen-xl mx-auto px-6 py-5 gap-5"):
        with ui.row().classes("w-full items-center gap-3"):
            ui.html(FAVICON, sanitize=False).classes("w-7 h-7")
            ui.link("edgeward", "/").classes("text-xl font-semibold no-underline text-inherit")
            for crumb in crumbs:
                ui.label("/").classes("muted")
                ui.label(crumb).classes("text-lg")
        yield


def tile(title: str) -> ui.label:
    """A figure under its title; set the label's text to change it."""
    with ui.card().classes("panel flex-1 min-w-[10rem] gap-0 px-5 py-4"):
        ui.label(title).classes("text-sm muted")
        return ui.label("–").classes("text-2xl font-semibold number")


def milliseconds(value: float | None) -> str:
    """To three significant digits, with the unit."""
    return "–" if value is None else f"{value:.3g} ms"


def celsius(value: float | None) -> str:
    """Whole degrees, with the unit; a dash where there is no sensor."""
    return "–" if value is None else f"{value:.0f} °C"


def percent(value: float | None) -> str:
    """Whole per cent."""
    return "–" if value is None else f"{value:.0f} %"


def ago(at: float) -> str:
    """How long ago a Unix time was, in the largest unit that fits."""
    seconds = max(0, int(time.time() - at))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "now" if seconds < 3 else f"{seconds} s ago"
