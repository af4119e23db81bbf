"""`edgeward fleet alerts`, `silence`, `silences`: what is the matter, and whom not to tell for a while."""

import datetime
from typing import Annotated

import typer
from rich.text import Text

from edgeward.cli import output
from edgeward.cli.bundles import Json
from edgeward.cli.rest import DEFAULT_URL, MonitorUrl, Token

_COLOURS = {"firing": "red", "pending": "yellow", "resolved": "green"}
_STATES = ("firing", "pending", "resolved", "all")


def register(fleet: typer.Typer) -> None:
    """Add the commands to `edgeward fleet`."""
    for command in (alerts, silence, silences):
        fleet.command()(command)


def alerts(
    state: Annotated[str, typer.Option(help="firing, pending, resolved, or all.")] = "firing",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    monitor: MonitorUrl = DEFAULT_URL,
    token: Token = None,
    json: Json = False,
) -> None:
    """List what is the matter with the fleet.

    Example: edgeward fleet alerts --state all
    """
    from edgeward.cli.rest import Monitor
    from edgeward_runtimes.errors import ConfigError

    if state not in _STATES:
        raise ConfigError(f"--state is firing, pending, resolved or all, not {state!r}.")
    only = {} if state == "all" else {"state": state}
    found = Monitor(monitor, token).ask("GET", "/api/alerts", limit=limit, **only)
    if json:
        output.answer_json({"alerts": found})
        return
    rows = [
        (
            Text(each["state"], _COLOURS[each["state"]]),
            each["severity"],
            each["rule"],
            "/".join(filter(None, (each["fleet"], each["device"], each["model"]))) or "–",
            each["message"],
            moment(each["since"]),
            "silenced" if each["silenced"] else "",
        )
        for each in found
    ]
    output.table("Alerts", ("state", "severity", "rule", "about", "", "since", ""), rows)


def silence(
    match: Annotated[
        str | None, typer.Argument(help="A glob over fleet, fleet/device or fleet/device/model, such as 'factory-1/*'.")
    ] = None,
    lasts: Annotated[str, typer.Option("--for", help="How long, such as 30m, 2h or 1d.")] = "1h",
    reason: Annotated[str, typer.Option(help="Why; shown beside the alerts.")] = "",
    rule: Annotated[str, typer.Option(help="A glob over names of rules.")] = "*",
    end: Annotated[str | None, typer.Option(help="End the silence with this id instead.")] = None,
    monitor: MonitorUrl = DEFAULT_URL,
    token: Token = None,
    json: Json = False,
) -> None:
    """Tell nobody of alerts that match, for a while.

    Example: edgeward fleet silence 'factory-1/press-*' --for 2h --reason "maintenance"
    """
    from urllib.parse import quote

    from edgeward.cli.rest import Monitor
    from edgeward_runtimes.errors import ConfigError

    if (match is None) == (end is None):
        raise ConfigError("Say what to silence, such as 'factory-1/press-7', or --end and a silence's id.")
    asked = Monitor(monitor, token)
    if end is not None:
        asked.ask("DELETE", f"/api/silences/{quote(end, safe='')}")
        output.people.print(Text(f"The silence {end} has ended."))
        return
    wanted = {"match": match, "for_s": _seconds(lasts), "reason": reason, "rule": rule}
    made = asked.ask("POST", "/api/silences", wanted)
    if json:
        output.answer_json(made)
        return
    output.people.print(Text(f"{match} is silent for {lasts}; end it with: edgeward fleet silence --end {made['id']}"))


def silences(monitor: MonitorUrl = DEFAULT_URL, token: Token = None, json: Json = False) -> None:
    """List the silences that hold.

    Example: edgeward fleet silences
    """
    from edgeward.cli.rest import Monitor

    found = Monitor(monitor, token).ask("GET", "/api/silences")
    if json:
        output.answer_json({"silences": found})
        return
    names = ("id", "match", "rule", "created_by", "reason")
    rows = [(*(each[name] for name in names), moment(each["until"])) for each in found]
    output.table("Silences", ("id", "match", "rule", "by", "reason", "until"), rows)


def moment(at: float) -> str:
    """Unix seconds as people read them."""
    return datetime.datetime.fromtimestamp(at).astimezone().isoformat(" ", "seconds")


def _seconds(lasts: str) -> float:
    from edgeward.monitor.alerts.rules import seconds
    from edgeward_runtimes.errors import ConfigError

    try:
        return float(seconds(lasts))
    except ValueError as error:
        raise ConfigError(f"--for: {error}.") from None
