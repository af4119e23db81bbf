"""`edgeward capture` on a device, and `edgeward fleet capture` for one of the fleet's: samples kept for retraining."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeward.cli.bundles import Json
from edgeward.cli.output import answer_json, chatter, people
from edgeward.cli.rest import DEFAULT_URL, MonitorUrl, Token
from edgeward_runtimes.errors import ConfigError, DeviceError, MonitorError

ModelName = Annotated[str, typer.Argument(metavar="NAME", help="The model's name.")]
On = Annotated[
    bool | None, typer.Option("--on/--off", help="Begin or end to keep samples; what is kept already stays.")
]
Margin = Annotated[
    float | None, typer.Option(help="Keep a sample whose best class is ahead of the second by less. [default: 0.2]")
]
Drifted = Annotated[
    bool | None,
    typer.Option("--drifted/--not-drifted", help="Keep samples unlike all calibration data. [default: drifted]"),
]
Rate = Annotated[float | None, typer.Option(help="Keep this share of all samples that are looked at. [default: 0]")]
SizeMb = Annotated[float | None, typer.Option(help="The most that is kept, in MB; the oldest go first. [default: 64]")]
Days = Annotated[float | None, typer.Option(help="What is older is removed. [default: 7]")]
_LOOK_EVERY_S = 0.5


def register(app: typer.Typer) -> None:
    """Add `edgeward capture`."""
    app.command()(capture)


def register_fleet(fleet: typer.Typer) -> None:
    """Add `edgeward fleet capture`."""
    fleet.command("capture")(fleet_capture)


def capture(
    name: ModelName,
    on: On = None,
    margin: Margin = None,
    drifted: Drifted = None,
    rate: Rate = None,
    size_mb: SizeMb = None,
    days: Days = None,
    json: Json = False,
) -> None:
    """Keep samples of an installed model's inputs on this device, or say what is kept. Nothing leaves it unasked.

    Example: edgeward capture digits --on --rate 0.01 --days 3
    """
    from edgeward_runtimes.home import Home
    from edgeward_runtimes.observation import captured, settings
    from edgeward_runtimes.release import in_use

    wanted = _settings(on, margin=margin, drifted=drifted, rate=rate, size_mb=size_mb, days=days)
    home = Home.default()
    in_use(str(home.root), name)
    if on is not None:
        settings.set_capture(home, name, settings.capture_of(wanted) if on else None)
    found = captured.status(home, name)
    if json:
        answer_json(found)
    else:
        people.print(found.sentence, markup=False)


def fleet_capture(
    name: ModelName,
    device: Annotated[str, typer.Option("--device", help="FLEET/DEVICE, as the monitor shows it.")],
    folder: Annotated[
        Path, typer.Option("-o", "--output", file_okay=False, help="Where NAME.npz and NAME-labelled.npz go.")
    ] = Path(),
    on: On = None,
    clear: Annotated[bool, typer.Option("--clear", help="Remove what is kept there.")] = False,
    margin: Margin = None,
    drifted: Drifted = None,
    rate: Rate = None,
    size_mb: SizeMb = None,
    days: Days = None,
    wait: Annotated[float, typer.Option(min=1, help="Seconds to wait for the device's answer.")] = 300.0,
    monitor: MonitorUrl = DEFAULT_URL,
    token: Token = None,
    json: Json = False,
) -> None:
    """Bring back the samples that a device of the fleet has kept; or begin, end or clear that there.

    Example: edgeward fleet capture digits --device factory-1/press-7 -o retraining
    """
    wanted = _settings(on, margin=margin, drifted=drifted, rate=rate, size_mb=size_mb, days=days)
    if clear and on is not None:
        raise ConfigError("--clear and --on or --off are two requests: ask for one after the other.")
    action = "clear" if clear else {True: "on", False: "off", None: "fetch"}[on]
    arguments = {"name": name, "action": action} | ({"settings": wanted} if on else {})
    with chatter.status(f"waiting for {device} …"):
        message, content = _ask(monitor, token, device, arguments, wait)
    if action != "fetch":
        if json:
            answer_json({"message": message})
        else:
            people.print(message, markup=False)
        return
    from edgeward.captured import save

    saved = save(content, name, folder)
    if json:
        answer_json(saved)
        return
    people.print(f"{message}: {saved.file}", markup=False)
    if saved.labelled_file is not None:
        people.print(f"{saved.labelled} of them have labels: {saved.labelled_file}", markup=False)


def _settings(on: bool | None, **given: float | bool | None) -> dict[str, float | bool]:
    """The settings that were given. Raises ConfigError where nothing begins that they could be for."""
    wanted = {name: value for name, value in given.items() if value is not None}
    if wanted and not on:
        raise ConfigError(f"--{next(iter(wanted)).replace('_', '-')} says how to capture: give it with --on.")
    return wanted


def _ask(url: str, token: str | None, device: str, arguments: dict[str, Any], within_s: float) -> tuple[str, bytes]:
    """A device's answer to a request, through the monitor. Raises MonitorError, DeviceError."""
    from edgeward.cli.rest import Monitor

    monitor = Monitor(url, token)
    body = {"device_id": device, "command": "capture", "arguments": arguments}
    path = f"/api/requests/{monitor.ask('POST', '/api/requests', body)['id']}"
    deadline = time.monotonic() + within_s
    while (found := monitor.ask("GET", path))["answered_at"] is None:
        if time.monotonic() > deadline:
            monitor.ask("DELETE", path)
            raise DeviceError(
                f"{device} did not answer within {within_s:g} s. Is it online? See the monitor's page of it."
            )
        time.sleep(_LOOK_EVERY_S)
    if not found["ok"]:
        raise DeviceError(f"{device}: {found['message']}")
    return found["message"], _content(url, token, f"{path}/content")


def _content(url: str, token: str | None, path: str) -> bytes:
    import httpx

    headers = {"authorization": f"Bearer {token}"} if token else {}
    answer = httpx.get(url.rstrip("/") + path, headers=headers, timeout=60)
    if answer.is_error:
        raise MonitorError(f"The monitor at {url} does not give the content: {answer.status_code}. Ask again.")
    return answer.content
