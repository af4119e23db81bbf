"""The command that brings edgeward itself to devices."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from edgeward.cli.bundles import Json
from edgeward.cli.installing import DevicesProgress, show_outcomes
from edgeward.cli.on_devices import DeviceUrls, Jobs, MoreDevices, is_one, on_each
from edgeward.cli.output import answer_json, people
from edgeward_runtimes.errors import ConfigError
from edgeward_targets.device import Device, Progress
from edgeward_targets.many import JOBS


def provision(
    device_url: DeviceUrls = None,
    device: MoreDevices = None,
    engine: Annotated[
        list[str] | None, typer.Option(help="litert, onnxruntime or openvino; by default the target's first.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="What kind of board it is.")] = None,
    enroll: Annotated[
        Path | None, typer.Option(metavar="DIR", file_okay=False, help="What `edgeward fleet enroll` made for it.")
    ] = None,
    jobs: Jobs = JOBS,
    json: Json = False,
) -> None:
    """Bring edgeward, its agent and an engine to devices that need no internet for it.

    Example: edgeward provision ssh://pi@10.0.0.7 --target raspberrypi4 --enroll enrolled/press-7
    """
    from edgeward.provision import Provisioned
    from edgeward.provision import provision as bring

    engines = _engines(engine, target)
    if enroll is not None and len({*(device_url or ()), *(device or ())}) != 1:
        raise ConfigError("An enrollment is one device's: name one device with --enroll.")

    def work(each: Device, progress: Progress) -> Provisioned:
        return bring(each, engines, enrollment=enroll, progress=progress)

    with DevicesProgress() as rows:
        outcomes = on_each(device_url, device, jobs, rows, work)
    if not is_one(device_url, device):
        show_outcomes(outcomes, lambda each: f"{each.sent_bytes / 1e6:.1f} MB sent; agent: {each.agent}", json=json)
        return
    done = outcomes[0].unwrap()
    if json:
        answer_json(done)
        return
    people.print(
        f"{escape(outcomes[0].url)} has edgeward {done.edgeward_version} with {', '.join(('agent', *done.extras))} "
        f"for Python {done.python_version} at {escape(done.python)} ({done.sent_bytes / 1e6:.1f} MB sent)."
    )
    people.print(f"Agent: {escape(done.agent)}", soft_wrap=True)


def _engines(given: list[str] | None, target: str | None) -> tuple[str, ...]:
    if given:
        return tuple(given)
    if target is None:
        return ("litert",)
    from edgeward_targets import profiles

    return (profiles.get(target).variants[0].partition("-")[0],)
