"""The fleet: totals, and a table with a row for every model on every device."""

import asyncio
from typing import Any
from urllib.parse import quote

from nicegui import ui
from sqlalchemy import Engine

from edgeward.monitor import queries
from edgeward.monitor.dashboard import theme
from edgeward.monitor.queries import Device, ModelOnDevice
from edgeward_runtimes.latency.histogram import Histogram

_LEFT = {"align": "left", "sortable": True}
_RIGHT = {"align": "right", "sortable": True}
_COLUMNS = [
    {"name": "status", "label": "Status", "field": "status", **_LEFT},
    {"name": "device", "label": "Device", "field": "device", **_LEFT},
    {"name": "target", "label": "Target", "field": "target", **_LEFT},
    {"name": "model", "label": "Model", "field": "model", **_LEFT},
    {"name": "release", "label": "Release", "field": "release", **_LEFT},
    {"name": "variant", "label": "Variant", "field": "variant", **_LEFT},
    {"name": "predictions", "label": "Predictions", "field": "predictions", **_RIGHT},
    {"name": "errors", "label": "Errors", "field": "errors", **_RIGHT},
    {"name": "p95", "label": "p95", "field": "p95", ":format": "v => v === null ? '–' : v + ' ms'", **_RIGHT},
    {"name": "temperature", "label": "Temperature", "field": "temperature", **_RIGHT},
    {"name": "seen", "label": "Last seen", "field": "seen", **_RIGHT},
]
_STATUS_CELL = """
<q-td :props="props">
  <span :style="{color: props.value === 'online' ? '#16a34a' : '#dc2626'}">●</span>
  <span class="q-ml-xs" :data-device="props.row.device">{{ props.value }}</span>
</q-td>
"""
_DEVICE_CELL = """
<q-td :props="props">
  <a :href="props.row.link" class="text-primary" style="text-decoration: none">{{ props.value }}</a>
</q-td>
"""
_NUMBER_CELL = '<q-td :props="props">{{ Number(props.value).toLocaleString("en-US") }}</q-td>'


class FleetPage:
    """One browser's view of the fleet, read anew every second."""

    def __init__(self, engine: Engine, broker_url: str) -> None:
        self._engine = engine
        with theme.frame():
            with ui.row().classes("w-full gap-4"):
                self._online = theme.tile("Devices online")
                self._predictions = theme.tile("Predictions")
                self._errors = theme.tile("Errors")
                self._p95 = theme.tile("Fleet p95")
            with ui.card().classes("panel w-full p-0 gap-0"):
                filter_box = ui.input(placeholder="Filter by device, model, release, status …")
                filter_box.props("borderless dense clearable").classes("w-full px-5 py-2")
                ui.separator()
                self._table = ui.table(columns=_COLUMNS, rows=[], row_key="key", pagination=50)
                self._table.classes("w-full shadow-none bg-transparent").props("flat").bind_filter(filter_box, "value")
                self._table.add_slot("body-cell-status", _STATUS_CELL)
                self._table.add_slot("body-cell-device", _DEVICE_CELL)
                self._table.add_slot("body-cell-predictions", _NUMBER_CELL)
                self._table.add_slot("body-cell-errors", _NUMBER_CELL)
                self._empty = ui.label(
                    f"No device has reported yet. Start an agent with broker = {broker_url!r} in its agent.toml: "
                    "edgeward agent --config agent.toml"
                ).classes("muted px-5 py-8")
        ui.timer(theme.REFRESH_S, self._refresh)

    async def _refresh(self) -> None:
        devices = await asyncio.to_thread(queries.devices, self._engine)
        totals = await asyncio.to_thread(queries.model_totals, self._engine)
        latency = Histogram()
        for *_, histogram in totals:
            latency = latency.merge(histogram)
        self._online.text = f"{sum(device.online for device in devices)} of {len(devices)}"
        self._predictions.text = f"{sum(row[2] for row in totals):,}"
        self._errors.text = f"{sum(row[3] for row in totals):,}"
        self._p95.text = theme.milliseconds(latency.quantile_ms(0.95))
        self._empty.visible = not devices
        self._table.visible = bool(devices)
        rows = [row for device in devices for row in _rows(device)]
        if rows != self._table.rows:
            self._table.rows = rows


def _rows(device: Device) -> list[dict[str, Any]]:
    """A row for each model that is installed or has counted: together they are what the tiles above say."""
    models: list[ModelOnDevice | None] = [
        model for model in device.models if model.installed or model.predictions or model.errors
    ]
    return [_row(device, model) for model in models or [None]]


def _row(device: Device, model: ModelOnDevice | None) -> dict[str, Any]:
    installed = model if model and model.installed else None
    return {
        "key": f"{device.id} {model.name if model else ''}",
        "status": "online" if device.online else "offline",
        "device": device.id,
        "link": f"/devices/{quote(device.id)}",
        "target": device.target or "–",
        "model": model.name if model else "–",
        "release": (installed.release if installed else model and theme.NOT_INSTALLED) or "–",
        "variant": (installed.variant if installed else None) or "–",
        "predictions": model.predictions if model else 0,
        "errors": model.errors if model else 0,
        "p95": float(f"{model.p95_ms:.3g}") if model and model.p95_ms is not None else None,
        "temperature": theme.celsius(device.temperature_c),
        "seen": theme.ago(device.last_seen),
    }
