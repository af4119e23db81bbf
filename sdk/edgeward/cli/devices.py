"""Commands about one device: flash, rollback, status, agent."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from edgeward.cli.bundles import BundlePath, Json
from edgeward.cli.output import FAILED, PASSED, answer_json, chatter, number, people, table
from edgeward_runtimes.install.installer import Installed

DeviceUrl = Annotated[str, typer.Argument(metavar="DEVICE_URL", help="A device, e.g. local:DIR.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (flash, rollback, status, agent):
        app.command()(command)


def flash(
    bundle: BundlePath,
    device_url: DeviceUrl,
    target: Annotated[
        str | None, typer.Option(help="What kind of board it is: its accelerators are tried before the CPU.")
    ] = None,
    json: Json = False,
) -> None:
    """Install a bundle on a device, tested there by its own engines.

    Example: edgeward flash model.edge local:/tmp/device-1
    """
    from edgeward.workflow import flash as flash_bundle

    with chatter.status(f"installing {escape(str(bundle))} on {escape(device_url)} …"):
        installed = flash_bundle(bundle, device_url, target=target)
    if json:
        answer_json(installed)
        return
    _show_installed(device_url, installed)
    if installed.selftest is not None:
        rows = [
            (
                trial.check.id,
                PASSED if trial.check.passed else FAILED,
                number(trial.timing.p50_ms if trial.timing else None),
                ", ".join(trial.runs_on) if trial.timing else "",
                trial.check.reason or trial.warning or "",
            )
            for trial in installed.selftest.trials
        ]
        table("Self-test on the device", ("variant", "", "p50 ms", "on", ""), rows)
        choice = installed.selftest.choice
        people.print(f"It runs [bold]{choice.id}[/]: {escape(choice.reason)}.")


def rollback(
    device_url: DeviceUrl, name: Annotated[str, typer.Argument(help="The model's name.")], json: Json = False
) -> None:
    """Go back to a model's previous release.

    Example: edgeward rollback local:/tmp/device-1 digits
    """
    from edgeward_targets.device import Device

    installed = Device(device_url).rollback(name)
    if json:
        answer_json(installed)
    else:
        _show_installed(device_url, installed)


def status(device_url: DeviceUrl, json: Json = False) -> None:
    """Show what is installed on a device and which variant runs there, and why.

    Example: edgeward status local:/tmp/device-1
    """
    from edgeward_targets.device import Device

    found = Device(device_url).status()
    if json:
        answer_json(found)
        return
    people.print(
        f"{escape(device_url)}: edgeward {found.edgeward_version}, Python {found.python_version}, "
        f"{found.architecture}; "
        f"engines: {', '.join(found.engines) or 'none'}"
    )
    rows = [
        (
            model.name,
            model.release,
            model.previous or "–",
            model.variant or "–",
            ", ".join(model.runs_on) or "–",
            "; ".join(filter(None, (model.reason, model.warning))),
        )
        for model in found.models
    ]
    if rows:
        table("Models", ("model", "release", "previous", "variant", "on", "why"), rows)
    else:
        people.print(f"No models are installed. Next: edgeward flash BUNDLE {device_url}", markup=False)


def agent(
    config: Annotated[Path, typer.Option(help="agent.toml.")],
    print_unit: Annotated[
        bool, typer.Option("--print-unit", help="Print a hardened systemd unit for this agent, and do nothing else.")
    ] = False,
) -> None:
    """Report this device's health and latency to the fleet's broker until stopped.

    Example: edgeward agent --config /var/lib/edgeward/agent.toml
    """
    from edgeward_runtimes.agent import config as configs
    from edgeward_runtimes.home import Home

    checked, home = configs.read(config), Home.default()
    if print_unit:
        from edgeward_runtimes.agent.unit import unit

        print(unit(config, home), end="")
        return
    from edgeward_runtimes.agent import service

    service.run(checked, home)


def _show_installed(device_url: str, installed: Installed) -> None:
    if installed.replaced == installed.release:
        people.print(f"{escape(device_url)} already runs {installed.name} {installed.release}.")
    else:
        before = f" (before: {installed.replaced})" if installed.replaced else ""
        people.print(f"{escape(device_url)} now runs [bold]{installed.name} {installed.release}[/]{before}.")
