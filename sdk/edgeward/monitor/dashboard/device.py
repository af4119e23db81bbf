"""One device: what it is, how it is, and for each of its models latency over time and its histogram."""

import asyncio
import time
from typing import Any

from nicegui import ui
from sqlalchemy import Engine

from edgeward.monitor import queries
from edgeward.monitor.dashboard import charts, theme
from edgeward.monitor.queries import Device, ModelOnDevice
from edgeward_runtimes.latency.histogram import Histogram

_WINDOW_S = 6 * 3600.0
_CHARTS_EVERY_S = 2.0


class DevicePage:
    """One browser's view of a device."""

    def __init__(self, engine: Engine, device_id: str) -> None:
        self._engine = engine
        self._device_id = device_id
        self._models: dict[str, _ModelPanel] = {}
        with theme.frame(device_id):
            self._missing = ui.label(f"No device {device_id} has reported yet.").classes("muted")
            with ui.row().classes("w-full gap-4"):
                self._status = theme.tile("Status")
                self._seen = theme.tile("Last seen")
                self._cpu = theme.tile("CPU")
                self._memory = theme.tile("Memory")
                self._disk = theme.tile("Disk")
                self._temperature = theme.tile("Temperature")
            self._facts = ui.label().classes("muted text-sm")
            self._panels = ui.column().classes("w-full gap-5")
            with ui.card().classes("panel w-full px-5 py-4 gap-2"):
                ui.label("Health").classes("font-semibold")
                self._health = ui.echart(charts.health_over_time([])).classes("w-full h-56")
        ui.timer(theme.REFRESH_S, self._refresh)
        ui.timer(_CHARTS_EVERY_S, self._refresh_charts)

    async def _refresh(self) -> None:
        device = await asyncio.to_thread(queries.device, self._engine, self._device_id)
        self._missing.visible = device is None
        if device is None:
            return
        self._show(device)
        for model in device.models:
            if model.name not in self._models:
                with self._panels:
                    self._models[model.name] = _ModelPanel(model.name)
            self._models[model.name].show(model)

    def _show(self, device: Device) -> None:
        self._status.text = "online" if device.online else "offline"
        self._status.style(f"color: {'#16a34a' if device.online else theme.RED}")
        self._seen.text = theme.ago(device.last_seen)
        self._cpu.text = theme.percent(device.cpu_percent)
        self._memory.text = theme.percent(device.memory_used_percent)
        self._disk.text = theme.percent(device.disk_used_percent)
        self._temperature.text = theme.celsius(device.temperature_c)
        facts = (device.target, device.architecture, f"Python {device.python_version}")
        self._facts.text = " · ".join(filter(None, (*facts, f"edgeward {device.edgeward_version}")))

    async def _refresh_charts(self) -> None:
        since = time.time() - _WINDOW_S
        health = await asyncio.to_thread(queries.health_series, self._engine, self._device_id, since)
        _redraw(self._health, charts.health_over_time(health))
        for name, panel in self._models.items():
            series = await asyncio.to_thread(queries.latency_series, self._engine, self._device_id, name, since)
            histogram = await asyncio.to_thread(queries.model_histogram, self._engine, self._device_id, name)
            _redraw(panel.latency, charts.latency_over_time(series))
            _redraw(panel.predictions, charts.predictions_over_time(series))
            _redraw(panel.histogram, charts.latency_histogram(histogram))


class _ModelPanel:
    """One model's figures and charts."""

    def __init__(self, name: str) -> None:
        with ui.card().classes("panel w-full px-5 py-4 gap-2"):
            with ui.row().classes("w-full items-baseline gap-3"):
                ui.label(name).classes("text-lg font-semibold")
                self._release = ui.label().classes("muted text-sm")
                ui.space()
                self._figures = ui.label().classes("number text-sm")
            self._warning = ui.label().classes("text-sm text-warning")
            with ui.grid(columns="1fr 1fr").classes("w-full gap-4"):
                self.latency = _titled("Latency by the minute", charts.latency_over_time([]))
                self.histogram = _titled("All latencies", charts.latency_histogram(Histogram()))
            self.predictions = _titled("Predictions by the minute", charts.predictions_over_time([]))

    def show(self, model: ModelOnDevice) -> None:
        """Show the latest figures."""
        running = filter(None, (model.release, model.variant, model.runs_on and f"on {model.runs_on}"))
        self._release.text = " · ".join(running) if model.installed else theme.NOT_INSTALLED
        self._warning.text = model.warning or ""
        self._warning.visible = model.installed and model.warning is not None
        quantiles = (("p50", model.p50_ms), ("p95", model.p95_ms), ("p99", model.p99_ms))
        latencies = (f"{name} {theme.milliseconds(value)}" for name, value in quantiles)
        figures = (f"{model.predictions:,} predictions", f"{model.errors:,} errors", *latencies)
        self._figures.text = " · ".join(figures)


def _titled(title: str, options: dict[str, Any]) -> ui.echart:
    with ui.column().classes("w-full gap-0"):
        ui.label(title).classes("muted text-sm")
        return ui.echart(options).classes("w-full h-64")


def _redraw(chart: ui.echart, options: dict[str, Any]) -> None:
    """Change a chart only where there is something new, so that an open tooltip stays."""
    if dict(chart.options) != options:
        chart.options.clear()
        chart.options.update(options)
        chart.update()
