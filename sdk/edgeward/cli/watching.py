"""`edgeward fleet ls` and `show`: the devices, as the monitor sees them."""

from typing import Annotated, Any

import typer
from rich.text import Text

from edgeward.cli import output
from edgeward.cli.alerting import moment
from edgeward.cli.bundles import Json
from edgeward.cli.rest import DEFAULT_URL, MonitorUrl, Token

_COLOURS = {"ok": "green", "warning": "yellow", "bad": "red", "offline": "red"}
_READINGS = {
    "cpu_percent": "CPU %",
    "memory_used_percent": "memory %",
    "disk_used_percent": "disk %",
    "temperature_c": "°C",
    "power_w": "W",
}


def register(fleet: typer.Typer) -> None:
    """Add the commands to `edgeward fleet`."""
    for command in (ls, show):
        fleet.command()(command)


def ls(
    search: Annotated[str, typer.Argument(help="Words, each in a device's id, target, condition or models.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    monitor: MonitorUrl = DEFAULT_URL,
    token: Token = None,
    json: Json = False,
) -> None:
    """List devices, the worst first.

    Example: edgeward fleet ls offline
    """
    from edgeward.cli.rest import Monitor

    found = Monitor(monitor, token).ask("GET", "/api/devices", q=search, sort="worst", limit=limit)
    if json:
        output.answer_json({"devices": found})
        return
    rows = [(each["id"], _condition(each), each["target"] or "–", moment(each["last_seen"])) for each in found]
    output.table("Devices", ("device", "condition", "target", "last seen"), rows)


def show(
    device: Annotated[str, typer.Argument(help="FLEET/DEVICE.")],
    monitor: MonitorUrl = DEFAULT_URL,
    token: Token = None,
    json: Json = False,
) -> None:
    """Show one device: how it is, and what it runs.

    Example: edgeward fleet show factory-1/press-7
    """
    from urllib.parse import quote

    from edgeward.cli.rest import Monitor

    found = Monitor(monitor, token).ask("GET", f"/api/devices/{quote(device)}")
    if json:
        output.answer_json(found)
        return
    output.people.print(Text.assemble((found["id"], "bold"), " ", _condition(found)))
    facts = [found["target"], found["architecture"], f"edgeward {found['edgeward_version'] or '–'}"]
    readings = [f"{found[name]:.1f} {unit}" for name, unit in _READINGS.items() if found.get(name) is not None]
    output.people.print(Text(" · ".join(filter(None, (*facts, *readings, f"seen {moment(found['last_seen'])}")))))
    rows = [
        (
            each["name"],
            each["release"] or "–",
            each["variant"] or "–",
            f"{each['predictions']:,}",
            f"{each['errors']:,}",
            output.number(each["p50_ms"]),
            output.number(each["p99_ms"]),
        )
        for each in found["models"]
    ]
    output.table("Models", ("model", "release", "variant", "predictions", "errors", "p50 ms", "p99 ms"), rows)


def _condition(device: dict[str, Any]) -> Text:
    why = f" ({'; '.join(device['reasons'])})" if device["reasons"] else ""
    return Text.assemble((device["condition"], _COLOURS.get(device["condition"], "")), why)
