"""The command `fleet simulate`: devices that do not exist, reporting as real ones do."""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TextColumn

from edgeward.cli import output
from edgeward.cli.bundles import Json

if TYPE_CHECKING:
    from edgeward.simulate.fleet import Plan, Progress


def register(fleet: typer.Typer) -> None:
    """Add the command to `edgeward fleet`."""
    fleet.command()(simulate)


def simulate(
    devices: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many.")] = 100,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Reports a second, of all together; by default each every 10 s.")
    ] = None,
    broker: Annotated[str, typer.Option(help="mqtt://[user:password@]host[:port].")] = "mqtt://127.0.0.1:1883",
    fleet: Annotated[str, typer.Option(help="The fleet that they are of.")] = "simulated",
    models: Annotated[int, typer.Option(min=0, max=100, help="How many on each.")] = 2,
    release: Annotated[str, typer.Option(help="What most of them run.")] = "1.4.0-5b1f0c2e",
    predictions: Annotated[float, typer.Option(min=0, help="A second, of a model on an average device.")] = 1.0,
    errors: Annotated[float, typer.Option(min=0, max=1, help="Which share of predictions fails.")] = 0.002,
    seed: Annotated[int, typer.Option(help="The same seed gives the same devices.")] = 0,
    seconds: Annotated[float | None, typer.Option(min=0, help="For how long; by default until Ctrl-C.")] = None,
    json: Json = False,
) -> None:
    """Simulate a fleet: real protocol, real histograms, wills and rebirths, a few slow, hot or flaky devices.

    Example: edgeward fleet simulate --devices 1000 --broker mqtt://127.0.0.1:1883
    """
    from edgeward.simulate.fleet import Plan

    plan = Plan(
        devices=devices,
        rate=devices / 10 if rate is None else rate,
        broker=broker,
        fleet=fleet,
        models=models,
        release=release,
        predictions=predictions,
        error_rate=errors,
        seed=seed,
        seconds=seconds,
    )
    with Bar(SpinnerColumn(), TextColumn("{task.description}"), console=output.chatter) as bar:
        task = bar.add_task("connecting", total=None)

        def tell(progress: "Progress") -> None:
            bar.update(task, description=_line(progress))

        done = asyncio.run(_until_stopped(plan, tell))
    if json:
        output.answer_json(done)
    else:
        output.people.print(_line(done), highlight=False, soft_wrap=True)


async def _until_stopped(plan: "Plan", tell: "Callable[[Progress], None]") -> "Progress":
    from edgeward.simulate.fleet import Fleet

    fleet = Fleet(plan)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(ValueError):  # not of the main thread
            loop.add_signal_handler(number, fleet.stop)
    return await fleet.run(tell)


def _line(progress: "Progress") -> str:
    refusal = f" · {progress.refusal}" if progress.refusal and progress.online < progress.devices else ""
    a_second = progress.messages / max(progress.seconds, 0.001)
    return (
        f"{progress.online:,} of {progress.devices:,} devices online · {progress.messages:,} messages "
        f"({a_second:,.0f}/s) · {progress.predictions:,} predictions, {progress.errors:,} errors{refusal}"
    )
