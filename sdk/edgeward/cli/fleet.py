"""Commands about the fleet: monitor, demo, and the group `edgeward fleet`."""

from pathlib import Path
from typing import Annotated

import typer

from edgeward.cli import alerting, capturing, enrolling, rollouts, simulating, tokens, watching
from edgeward.cli.bundles import Json

fleet = typer.Typer(help="A fleet: who belongs to it, and what is the matter there.", no_args_is_help=True)
for _module in (watching, enrolling, alerting, rollouts, simulating, tokens):
    _module.register(fleet)
capturing.register_fleet(fleet)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (monitor, demo):
        app.command()(command)
    app.add_typer(fleet, name="fleet")


def monitor(
    config: Annotated[Path | None, typer.Option(help="monitor.toml; without it, the defaults.")] = None,
) -> None:
    """Watch a fleet: broker, store, REST and the live dashboard.

    Example: edgeward monitor --config monitor.toml
    """
    from edgeward.monitor import config as configs
    from edgeward.monitor import service

    service.run(configs.read(config))


def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the table; else stay up with the dashboard.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The dashboard's port; 0 takes any free one.")] = 8080,
    folder: Annotated[
        Path | None, typer.Option(file_okay=False, help="Keep everything here; else a folder that is removed.")
    ] = None,
    json: Json = False,
) -> None:
    """Train, convert, flash, predict, report and watch: handwritten digits on two devices of this machine.

    Example: edgeward demo
    """
    from edgeward.demo import run

    run(once=once, port=port, folder=folder, json=json)
