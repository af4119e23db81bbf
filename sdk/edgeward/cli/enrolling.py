"""`edgeward fleet init`, `enroll`, `renew`, `revoke`, `devices`: who may speak on a fleet's broker."""

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec.structs import asdict
from rich.text import Text

from edgeward.cli import output
from edgeward.cli.bundles import Json

if TYPE_CHECKING:
    from edgeward.enrollment.devices import Trust
    from edgeward.enrollment.folder import Fleet

Folder = Annotated[
    Path,
    typer.Option("--folder", envvar="EDGEWARD_FLEET", file_okay=False, help="The fleet's folder, of `fleet init`."),
]
Days = Annotated[float, typer.Option(min=0.01, max=3650, help="How many days the certificate is good.")]
Password = Annotated[
    str | None,
    typer.Option(
        envvar="EDGEWARD_CA_PASSWORD", help="Of the authority's key; asked for when it has one.", show_default=False
    ),
]
_STATES = {"good": "green", "expired": "yellow", "revoked": "red"}


def register(fleet: typer.Typer) -> None:
    """Add the commands to `edgeward fleet`."""
    for command in (init, enroll, renew, revoke, devices):
        fleet.command()(command)


def init(
    folder: Annotated[Path, typer.Argument(file_okay=False, help="A new folder.")],
    host: Annotated[list[str], typer.Option(help="A name or address of the broker; devices use the first.")],
    fleet: Annotated[str | None, typer.Option(help="The fleet's name; by default the folder's.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the broker listens to devices.")] = 8883,
    monitor_address: Annotated[
        str, typer.Option(help="Where it listens to the monitor; beyond loopback, keep devices out by a firewall.")
    ] = "127.0.0.1",
    monitor_port: Annotated[int, typer.Option(min=1, max=65535)] = 8884,
    host_id: Annotated[str, typer.Option(help="The monitor's Sparkplug host id.")] = "edgeward",
    days: Days = 365.0,
    encrypt: Annotated[bool, typer.Option("--encrypt", help="Keep the authority's key under a password.")] = False,
    password: Password = None,
) -> None:
    """Make a fleet's certificate authority, a Mosquitto configuration and a monitor.toml that uses it.

    Example: edgeward fleet init factory-1 --host broker.example.org --host 10.0.0.2
    """
    from edgeward.enrollment import folder as folders
    from edgeward.enrollment import settings

    chosen = settings.make(
        folder.absolute().name if fleet is None else fleet,
        tuple(host),
        port=port,
        monitor_address=monitor_address,
        monitor_port=monitor_port,
        host_id=host_id,
    )
    if encrypt and password is None:
        password = typer.prompt("Password for the authority's key", hide_input=True, confirmation_prompt=True, err=True)
    made = folders.init(folder, chosen, days=days, password=password)
    output.people.print(Text(f"{made.folder}: fleet {chosen.fleet}, broker {chosen.broker}"))
    output.people.print(Text(f"  start the broker:   mosquitto -c {made.folder}/broker/mosquitto.conf"))
    output.people.print(Text(f"  start the monitor:  edgeward monitor --config {made.folder}/monitor/monitor.toml"))
    output.people.print(Text(f"  let a device in:    edgeward fleet enroll DEVICE --folder {made.folder}"))


def enroll(
    device: Annotated[str, typer.Argument(help="The device's name.")],
    out: Annotated[Path | None, typer.Option("-o", "--output", help="A new folder; by default devices/DEVICE.")] = None,
    folder: Folder = Path(),
    days: Days = 365.0,
    registry: Annotated[
        Path | None, typer.Option(file_okay=False, help="A signed registry: the device takes its releases alone.")
    ] = None,
    registry_url: Annotated[str | None, typer.Option(help="Where devices reach it: http(s)://HOST/registry")] = None,
    password: Password = None,
    json: Json = False,
) -> None:
    """Let a device in: key, certificate and agent.toml, to be copied onto it.

    Example: edgeward fleet enroll press-7 -o press-7
    """
    from edgeward.enrollment import devices as enrolled

    fleet = _open(folder)
    trust = _trust(registry, registry_url)
    place = enrolled.enroll(fleet, device, out, days=days, password=_password(fleet, password), trust=trust)
    if json:
        output.answer_json({"device": device, "folder": str(place), "broker": fleet.settings.broker})
        return
    output.people.print(Text(f"{place}: copy it onto {device}, then: edgeward agent --config agent.toml"))


def renew(
    names: Annotated[list[str] | None, typer.Argument(help="Devices, edgeward-broker, edgeward-monitor.")] = None,
    within: Annotated[float | None, typer.Option(min=0, help="Everybody whose certificate ends within DAYS.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--output", help="The folder of a device's files.")] = None,
    folder: Folder = Path(),
    days: Days = 365.0,
    password: Password = None,
) -> None:
    """Give new certificates; the old ones stay good until they end.

    Example: edgeward fleet renew --within 30
    """
    from edgeward.enrollment import devices as enrolled
    from edgeward_runtimes.errors import ConfigError

    fleet = _open(folder)
    soon = datetime.datetime.now().timestamp() + 86_400 * (within or 0)
    ending = [each.name for each in enrolled.listed(fleet) if each.state == "good" and each.expires_at < soon]
    chosen = [*(names or ()), *(ending if within is not None else ())]
    if not chosen and within is None:
        raise ConfigError("Name who is to be renewed, or say --within DAYS.")
    if out is not None and len(chosen) > 1:
        raise ConfigError("-o is one device's folder, but several are to be renewed.")
    opened = _password(fleet, password) if chosen else None
    for name in dict.fromkeys(chosen):
        place = enrolled.renew(fleet, name, out, days=days, password=opened)
        output.people.print(Text(f"{name}: {place}"))


def revoke(
    device: Annotated[str, typer.Argument(help="The device's name.")],
    folder: Folder = Path(),
    password: Password = None,
    json: Json = False,
) -> None:
    """Shut a device out, for good: the broker refuses its certificates.

    Example: edgeward fleet revoke press-7
    """
    from edgeward.enrollment import cutting
    from edgeward.enrollment import devices as enrolled

    fleet = _open(folder)
    opened = _password(fleet, password)
    revoked = enrolled.revoke(fleet, device, password=opened)
    cut = cutting.cut(fleet, device, opened) if revoked.broker_reloaded else False
    if json:
        output.answer_json({**asdict(revoked), "connection_cut": cut})
        return
    output.people.print(Text(f"{device} is revoked."))
    if not revoked.broker_reloaded:
        output.people.print(
            Text(
                f"Mosquitto does not run here: copy {fleet.folder}/broker/crl.pem and acl to it, "
                "and have it read them: kill -HUP, or systemctl reload mosquitto."
            )
        )
    elif not cut:
        output.people.print(Text("A connection that it may have open can do nothing; restarting Mosquitto ends it."))


def devices(folder: Folder = Path(), json: Json = False) -> None:
    """List who is enrolled, and until when.

    Example: edgeward fleet devices
    """
    from edgeward.enrollment import devices as enrolled

    found = enrolled.listed(_open(folder))
    if json:
        output.answer_json({"enrolled": found})
        return
    rows = [(each.name, Text(each.state, _STATES[each.state]), _day(each.expires_at)) for each in found]
    output.table("Enrolled", ("name", "certificate", "until"), rows)


def _trust(registry: Path | None, url: str | None) -> "Trust | None":
    from edgeward.enrollment.devices import Trust
    from edgeward_runtimes.errors import ConfigError

    if registry is None and url is None:
        return None
    if registry is None or url is None or not url.startswith(("http://", "https://")):
        raise ConfigError("A signed registry takes both: --registry DIR, and --registry-url http(s)://… for devices.")
    from edgeward.registry.repository import latest_root

    return Trust(latest_root(registry), url)


def _open(folder: Path) -> "Fleet":
    from edgeward.enrollment.folder import open_fleet

    return open_fleet(folder)


def _password(fleet: "Fleet", given: str | None) -> str | None:
    if given is None and fleet.is_encrypted:
        return str(typer.prompt("Password of the authority's key", hide_input=True, err=True))
    return given


def _day(at: float) -> str:
    return datetime.datetime.fromtimestamp(at).astimezone().date().isoformat()
