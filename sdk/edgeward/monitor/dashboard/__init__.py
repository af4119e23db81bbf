"""The live dashboard: the fleet at `/`, a device at `/devices/<fleet>/<device>`. Needs nothing from the network."""

from fastapi import FastAPI
from nicegui import ui
from sqlalchemy import Engine

from edgeward.monitor.config import MonitorConfig
from edgeward.monitor.dashboard.device import DevicePage
from edgeward.monitor.dashboard.fleet import FleetPage
from edgeward.monitor.dashboard.theme import FAVICON


def mount(app: FastAPI, engine: Engine, config: MonitorConfig) -> None:
    """Add the pages to the application."""

    @ui.page("/", title="edgeward")
    def fleet() -> None:
        FleetPage(engine, config.broker.url)

    @ui.page("/devices/{fleet}/{device}", title="edgeward")
    def device(fleet: str, device: str) -> None:
        DevicePage(engine, f"{fleet}/{device}")

    ui.run_with(app, title="edgeward", favicon=FAVICON, dark=None, show_welcome_message=False)
