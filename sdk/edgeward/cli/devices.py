"""Commands about devices: flash, rollback, status, agent; `provision` has a module of its own."""

from pathlib import Path
from typing import Annotated

import typer

from edgeward.cli.bundles import BundlePath, Json
from edgeward.cli.installing import DevicesProgress, show_history, show_installed, show_outcomes, show_status
from edgeward.cli.on_devices import DeviceUrls, Jobs, MoreDevices, is_one, on_each
from edgeward.cli.output import answer_json
from edgeward.cli.provisioning import provision
from edgeward_runtimes.errors import ConfigError
from edgeward_runtimes.install.installer import KEPT_RELEASES, Installed
from edgeward_runtimes.install.journal import Change
from edgeward_targets.device import Device, Progress, Terms
from edgeward_targets.many import JOBS


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (flash, rollback, status, provision, agent):
        app.command()(command)


def flash(
    bundle: BundlePath,
    device_url: DeviceUrls = None,
    device: MoreDevices = None,
    target: Annotated[
        str | None, typer.Option(help="What kind of board it is: its accelerators are tried before the CPU.")
    ] = None,
    keep: Annotated[int, typer.Option(min=2, help="Releases that stay on the device.")] = KEPT_RELEASES,
    health: Annotated[
        str,
        typer.Option(metavar="WINDOW|off", help="Watched so long by the agent, and rolled back when out of bounds."),
    ] = "10m,errors=1%,p95=1.5",
    registry: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The registry that has it, for devices that install what is signed alone."),
    ] = None,
    provision: Annotated[
        bool, typer.Option("--provision", help="First bring edgeward itself there; see `edgeward provision`.")
    ] = False,
    jobs: Jobs = JOBS,
    json: Json = False,
) -> None:
    """Install a bundle on devices, tested there by their own engines.

    Example: edgeward flash model.edge ssh://pi@10.0.0.7 ssh://pi@10.0.0.8
    """
    from edgeward_runtimes.install import health as limits
    from edgeward_targets import profiles

    terms = Terms(
        accelerators=() if target is None else profiles.get(target).accelerators,
        keep=keep,
        health=None if health == "off" else limits.parse(health),
        metadata=None if registry is None else metadata_of(registry),
    )

    def install(each: Device, progress: Progress) -> Installed:
        if not provision:
            return each.install(bundle, terms=terms, progress=progress)
        from edgeward.provision import provision as bring

        bring(each, engines_of(bundle), progress=progress)
        with Device(each.url) as anew:  # it has another Python now
            return anew.install(bundle, terms=terms, progress=progress)

    with DevicesProgress() as rows:
        outcomes = on_each(device_url, device, jobs, rows, install)
    if is_one(device_url, device):
        installed = outcomes[0].unwrap()
        answer_json(installed) if json else show_installed(outcomes[0].url, installed, selftest=True)
        return
    show_outcomes(outcomes, lambda each: f"{each.name} {each.release}", json=json)


def engines_of(bundle: Path) -> tuple[str, ...]:
    """The engines that a bundle's variants are for."""
    from edgeward_runtimes.bundle import Bundle

    return tuple(sorted({variant.engine for variant in Bundle.open(bundle).manifest.variants}))


def metadata_of(registry: Path) -> Path:
    """The metadata of a registry's folder. Raises ConfigError when it is none."""
    from edgeward.registry.repository import metadata_folder

    metadata = metadata_folder(registry)
    if not (metadata / "timestamp.json").is_file():
        raise ConfigError(
            f"{registry} is not a registry: {metadata}/timestamp.json is absent. See: edgeward registry init"
        )
    return metadata


def rollback(
    device_url: Annotated[
        list[str] | None, typer.Argument(metavar="[DEVICE_URL]... NAME", help="Devices, then the model's name.")
    ] = None,
    device: MoreDevices = None,
    jobs: Jobs = JOBS,
    json: Json = False,
) -> None:
    """Go back to a model's previous release.

    Example: edgeward rollback ssh://pi@10.0.0.7 digits
    """
    *urls, name = device_url or [""]
    if not name or ":" in name:
        raise ConfigError("Name the model to roll back after the devices: edgeward rollback DEVICE_URL NAME")
    with DevicesProgress() as rows:
        outcomes = on_each(urls, device, jobs, rows, lambda each, progress: each.rollback(name))
    if is_one(urls, device):
        installed = outcomes[0].unwrap()
        answer_json(installed) if json else show_installed(outcomes[0].url, installed)
        return
    show_outcomes(outcomes, lambda each: f"{each.name} {each.release}", json=json)


def status(
    device_url: DeviceUrls = None,
    device: MoreDevices = None,
    journal: Annotated[
        bool, typer.Option("--journal", help="Also tell what was installed and rolled back there, and why.")
    ] = False,
    jobs: Jobs = JOBS,
    json: Json = False,
) -> None:
    """Show what is installed on devices and which variant runs there, and why.

    Example: edgeward status ssh://pi@10.0.0.7 --journal
    """
    if journal:
        _journal(device_url, device, jobs, json)
        return
    with DevicesProgress() as rows:
        outcomes = on_each(device_url, device, jobs, rows, lambda each, progress: each.status())
    if is_one(device_url, device):
        found = outcomes[0].unwrap()
        answer_json(found) if json else show_status(outcomes[0].url, found)
        return
    show_outcomes(
        outcomes, lambda each: ", ".join(f"{model.name} {model.release}" for model in each.models) or "–", json=json
    )


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


def _journal(device_url: list[str] | None, device: list[str] | None, jobs: int, json: bool) -> None:
    def read(each: Device, progress: Progress) -> dict[str, tuple[Change, ...]]:
        return {model.name: each.history(model.name) for model in each.status().models}

    with DevicesProgress() as rows:
        outcomes = on_each(device_url, device, jobs, rows, read)
    if is_one(device_url, device):
        found = outcomes[0].unwrap()
        answer_json({"journal": found}) if json else show_history(outcomes[0].url, found)
        return
    if json:
        show_outcomes(outcomes, str, json=True)
    for outcome in outcomes:
        show_history(outcome.url, outcome.result or {})
    show_outcomes([each for each in outcomes if not each.is_success], str, json=False)
