"""Commands about bundles: convert, inspect, predict, verify, bench, targets."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from edgeward.cli import output
from edgeward.cli.output import answer_json, number, table
from edgeward_runtimes.install.result import Trial

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]
BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A .edge file.")]
DeviceOption = Annotated[str | None, typer.Option("--device", help="Do it on this device, e.g. local:DIR.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (convert, inspect, predict, verify, bench, targets):
        app.command()(command)


def convert(
    source: Annotated[
        str,
        typer.Argument(
            help="A .keras, .h5, .pt2, .onnx or .tflite file, a SavedModel folder, or module:function of PyTorch."
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="The bundle to write.")],
    target: Annotated[list[str] | None, typer.Option(help="A kind of board; see `edgeward targets`.")] = None,
    variant: Annotated[list[str] | None, typer.Option(help="Only this variant, as ENGINE-PRECISION.")] = None,
    calibration: Annotated[Path | None, typer.Option(help="X.npz: one array per input, or x.")] = None,
    evaluation: Annotated[Path | None, typer.Option(help="XY.npz: inputs as above, and y.")] = None,
    training: Annotated[Path | None, typer.Option(help="XY.npz for a recipe's steps to train on.")] = None,
    recipe: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Steps that prune, factorize, distill …; and variants.")
    ] = None,
    metric: Annotated[str, typer.Option(help="What --evaluation measures.")] = "accuracy",
    max_drop: Annotated[float, typer.Option(help="How far a variant may fall below the source model.")] = 0.01,
    signature: Annotated[str | None, typer.Option(help="Which signature of a SavedModel.")] = None,
    name: Annotated[str | None, typer.Option(help="The model's name; by default the file's.")] = None,
    version: Annotated[str, typer.Option(help="The release's version.")] = "1.0.0",
    labels: Annotated[Path | None, typer.Option(help="A text file with one class name a line.")] = None,
    preprocess: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.toml", help="How a picture becomes the input; or keras-tf, -caffe, -torch, torchvision."
        ),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="A folder for report.html and report.json.")] = None,
    json: Json = False,
) -> None:
    """Convert a trained model to a bundle of variants, each proved against it.

    Example: edgeward convert model.keras -o model.edge --calibration x.npz --evaluation test.npz
    """
    from edgeward.cli.progress import ConversionProgress
    from edgeward_converters import convert as run_conversion

    output.check_writable(out)
    with ConversionProgress() as progress:
        conversion = run_conversion(
            source,
            signature=signature,
            name=name,
            version=version,
            labels=labels,
            preprocess=preprocess,
            targets=target or (),
            variants=variant,
            calibration=calibration,
            evaluation=evaluation,
            training=training,
            recipe=recipe,
            metric=metric,
            max_drop=max_drop,
            report=report,
            progress=progress,
        )
    conversion.bundle.save(out)
    if json:
        answer_json(conversion.report)
        return
    output.show_conversion(conversion.report)
    output.chatter.print(
        f"wrote {out} ({out.stat().st_size / 1e3:.0f} kB). Next: edgeward flash {out} DEVICE_URL", markup=False
    )


def inspect(bundle: BundlePath, json: Json = False) -> None:
    """Show what a bundle holds, after checking every byte of it.

    Example: edgeward inspect model.edge
    """
    from edgeward.cli.inspecting import show
    from edgeward_runtimes.bundle import Bundle

    opened = Bundle.open(bundle)
    if json:
        answer_json(opened.manifest)
    else:
        show(opened)


def predict(
    source: Annotated[str, typer.Argument(metavar="BUNDLE|NAME", help="A .edge file, or an installed model.")],
    input_file: Annotated[Path, typer.Argument(metavar="INPUT", help="An .npy, an .npz, or a picture.")],
    engine: Annotated[str | None, typer.Option(help="Only this engine.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write the outputs to this .npz.")] = None,
    json: Json = False,
) -> None:
    """Predict with a bundle or an installed model; of a picture, prepared as the bundle says, the best classes.

    Example: edgeward predict model.edge photo.jpg
    """
    from edgeward.cli import predicting

    predicting.run(source, input_file, engine=engine, out=out, json=json)


def verify(
    bundle: BundlePath,
    device: DeviceOption = None,
    locate: Annotated[bool, typer.Option("--locate", help="Name the first layer of a variant that departs.")] = False,
    source: Annotated[str | None, typer.Option(help="The trained model, whose own layers --locate then names.")] = None,
    json: Json = False,
) -> None:
    """Run the golden samples through every variant; exit 1 when one differs from the source model.

    Example: edgeward verify model.edge --locate --source model.keras
    """
    from edgeward.cli import locating

    checks = [trial.check for trial in _examine(bundle, device)]
    located = locating.locate(bundle, checks, source) if locate or source is not None else []
    if json:
        keys = ("id", "max_abs_error", "cosine", "top1_agreement", "passed")
        found = {each.id: each.as_json() for each in located}
        rows = [{key: getattr(check, key) for key in keys} | found.get(check.id, {}) for check in checks]
        answer_json({"variants": rows})
    else:
        cells = [
            (
                check.id,
                output.PASSED if check.passed else output.FAILED,
                number(check.max_abs_error),
                number(check.cosine, 6),
                "–" if check.top1_agreement is None else f"{check.top1_agreement:.0%}",
                check.reason or "",
            )
            for check in checks
        ]
        table("Golden samples", ("variant", "", "max abs error", "cosine", "same top-1", ""), cells)
        locating.show(located)
    if not all(check.passed for check in checks):
        raise typer.Exit(1)


def bench(bundle: BundlePath, device: DeviceOption = None, json: Json = False) -> None:
    """Time every variant: one prediction at batch size 1, loading, and peak memory; exit 1 when none runs.

    Example: edgeward bench model.edge
    """
    trials = _examine(bundle, device)
    rows = [_bench_row(trial) for trial in trials]
    if json:
        answer_json({"variants": rows})
    else:
        columns = ("variant", "p50 ms", "p90 ms", "p99 ms", "load s", "peak MB")
        keys = ("id", "p50_ms", "p90_ms", "p99_ms", "load_s", "peak_rss_mb")
        table(
            "Latency", columns, [[v if isinstance(v := row[key], str) else number(v) for key in keys] for row in rows]
        )
    for trial in trials:
        if not trial.check.passed:
            output.complain(f"{trial.check.id}: {trial.check.reason}")
    if all(trial.timing is None for trial in trials):
        raise typer.Exit(1)


def targets(json: Json = False) -> None:
    """List the kinds of boards that edgeward knows.

    Example: edgeward targets
    """
    from edgeward_targets import profiles

    known = [profiles.get(name) for name in profiles.names()]
    if json:
        answer_json({"targets": known})
        return
    rows = [(each.name, each.description, each.architecture, ", ".join(each.variants)) for each in known]
    table("Targets", ("target", "board", "architecture", "variants, best first"), rows)


def _examine(bundle: Path, device: str | None) -> tuple[Trial, ...]:
    with output.chatter.status(f"running every variant on {escape(device or 'this machine')} …"):
        if device is None:
            from edgeward_runtimes import commands

            return commands.examine(bundle).trials
        from edgeward_targets.device import Device

        with Device(device) as opened:
            return opened.examine(bundle).trials


def _bench_row(trial: Trial) -> dict[str, str | float | None]:
    timing = trial.timing
    engine, _, precision = trial.check.id.rpartition("-")
    return {
        "id": trial.check.id,
        "engine": engine,
        "precision": precision,
        "p50_ms": timing.p50_ms if timing else None,
        "p90_ms": timing.p90_ms if timing else None,
        "p99_ms": timing.p99_ms if timing else None,
        "load_s": trial.load_s,
        "peak_rss_mb": trial.peak_rss_mb,
    }
