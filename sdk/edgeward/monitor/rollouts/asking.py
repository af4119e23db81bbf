"""Requests to devices, made and taken back within a transaction of ours."""

from sqlalchemy import Connection

from edgeward.monitor import requests
from edgeward.monitor.rollouts.state import Ask


def ask(connection: Connection, wanted: Ask, who: str) -> None:
    """Ask a device; asked again with the same id, it is the same request."""
    requests.ask_in(connection, wanted.device_id, wanted.command, wanted.arguments, who, id=wanted.id)


def cancel(connection: Connection, request_id: str) -> None:
    """Take a request back, unless it was answered already."""
    requests.cancel_in(connection, request_id)
