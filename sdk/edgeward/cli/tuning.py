"""The command `tune`: search recipes, and show the front."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from edgeward.cli import output
from edgeward.cli.output import answer_json, number, table

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(tune)


def tune(
    source: Annotated[
        str,
        typer.Argument(
            help="A .keras, .h5, .pt2, .onnx or .tflite file, a SavedModel folder, or module:function of PyTorch."
        ),
    ],
    calibration: Annotated[Path, typer.Option(help="X.npz, or XY.npz: trials are judged on a part of it.")],
    evaluation: Annotated[Path, typer.Option(help="XY.npz: the front is scored on it, and nothing is chosen by it.")],
    max_drop: Annotated[float, typer.Option(help="How far a point may fall below the source model.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="A folder; a search that is in it goes on.")],
    training: Annotated[Path | None, typer.Option(help="XY.npz: also prune, factorize, distill and train.")] = None,
    metric: Annotated[str, typer.Option(help="What --evaluation measures.")] = "accuracy",
    max_size: Annotated[int | None, typer.Option(help="Bytes of a model.")] = None,
    max_latency: Annotated[float | None, typer.Option(help="Milliseconds of one prediction.")] = None,
    device: Annotated[str | None, typer.Option(help="Measure latency there, e.g. local:DIR.")] = None,
    trials: Annotated[int, typer.Option(help="How many, those done already included.")] = 20,
    time_limit: Annotated[float | None, typer.Option(help="Begin no trial after so many seconds.")] = None,
    variant: Annotated[list[str] | None, typer.Option(help="Only this variant, as ENGINE-PRECISION.")] = None,
    workers: Annotated[str | None, typer.Option(help="ray, or ray://ADDRESS of a cluster.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed and trials give the same front.")] = 0,
    name: Annotated[str | None, typer.Option(help="The bundles' name; by default the file's.")] = None,
    json: Json = False,
) -> None:
    """Search recipes for the best of accuracy, size and latency; write a bundle per point of the front.

    Example: edgeward tune model.keras --calibration xy.npz --evaluation test.npz --max-drop 0.005 -o tuned
    """
    from edgeward_converters.tune import Point, Tuned
    from edgeward_converters.tune import tune as run_search
    from edgeward_converters.tune.trials import Result

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=output.chatter) as progress:
        task = progress.add_task("trials", total=max(trials, 0))

        def show(result: Result, count: int) -> None:
            progress.console.print(_row(result), soft_wrap=True)
            progress.update(task, completed=result.place + 1, total=count)

        tuned: Tuned = run_search(
            source,
            out,
            calibration=calibration,
            evaluation=evaluation,
            training=training,
            max_drop=max_drop,
            metric=metric,
            max_size=max_size,
            max_latency=max_latency,
            device=device,
            trials=trials,
            time_limit=time_limit,
            variants=variant,
            workers=workers,
            seed=seed,
            name=name,
            progress=show,
        )
    if json:
        answer_json(tuned)
        return

    def cells(point: Point) -> tuple[str, ...]:
        steps = ", ".join(step["method"] for step in point.recipe.get("step", ())) or "–"
        size, latency = f"{point.size_bytes / 1e3:.1f}", number(point.latency_ms)
        return (point.bundle, point.variant, steps, f"{point.metric:.4f}", f"{point.drop:+.4f}", size, latency)

    output.people.print(
        f"[bold]{tuned.name}[/]: source model {tuned.metric} {tuned.source_metric:.4f} on {tuned.samples} samples"
    )
    heads = ("bundle", "variant", "steps", tuned.metric, "drop", "size kB", "p50 ms")
    table("Front", heads, [cells(point) for point in tuned.points])
    output.chatter.print(f"wrote {out}/front.json, front.svg and {len(tuned.points)} bundles", markup=False)


def _row(result: object) -> Text:
    """One finished trial, on one line."""
    from edgeward_converters.tune.trials import Result

    assert isinstance(result, Result)  # noqa: S101  # for the type alone
    if result.reason is not None:
        return Text(f"{result.place:>4}  {result.title}: {' '.join(result.reason.split())[:150]}", "yellow")
    return Text(
        f"{result.place:>4}  {result.title}: drop {result.drop:+.4f} (up to {result.bound:.4f}), "
        f"{(result.size_bytes or 0) / 1e3:.1f} kB, {number(result.latency_ms)} ms, {result.seconds:.0f} s"
    )
