"""`edgeward inspect`: a bundle as a table, and what would run on this machine."""

from rich.markup import escape
from rich.text import Text

from edgeward.cli.output import number, people, table
from edgeward_runtimes import engines
from edgeward_runtimes.bundle import Bundle
from edgeward_runtimes.choosing import choose, ranking
from edgeward_runtimes.errors import EngineMissingError
from edgeward_runtimes.manifest import Manifest, Tensor, Variant


def show(bundle: Bundle) -> None:
    """Print a bundle."""
    manifest = bundle.manifest
    people.print(f"[bold]{manifest.name}[/] {manifest.version}  [dim]{bundle.digest[:12]}…, every byte checked[/]")
    for kind, tensors in (("input", manifest.inputs), ("output", manifest.outputs)):
        for tensor in tensors:
            people.print(f"  {kind} {describe(tensor)}", markup=False)
    if manifest.metric is not None:
        people.print(
            f"  source model: {manifest.metric.name} {manifest.metric.value:.4f} on {manifest.metric.samples} samples"
        )
    people.print(f"  {manifest.golden.samples} golden samples\n")
    columns = (
        "variant",
        "quantization",
        "size kB",
        manifest.metric.name if manifest.metric else "metric",
        "p50 ms",
        "",
    )
    table("Variants", columns, [_row(manifest, variant) for variant in manifest.variants])
    people.print(f"\n{_choice(manifest)}", soft_wrap=True)


def describe(tensor: Tensor) -> str:
    """A tensor in a few words."""
    shape = ", ".join("any" if size is None else str(size) for size in tensor.shape)
    return f"{tensor.name}: {tensor.dtype} ({shape})"


def _row(manifest: Manifest, variant: Variant) -> tuple[str | Text, ...]:
    missing = engines.missing_reason(variant.engine)
    remarks = [f"for {variant.engine}-{each.requested}: {each.note}" for each in variant.fallbacks]
    return (
        variant.id,
        variant.quantization or "–",
        f"{variant.size_bytes / 1e3:.1f}",
        number(variant.metric, 4),
        number(variant.latency_ms),
        Text("; ".join([missing, *remarks] if missing else remarks), "dim"),
    )


def _choice(manifest: Manifest) -> str:
    order = ", ".join(variant.id for variant in ranking(manifest, engines.missing_reason))
    try:
        choice = choose(manifest, engines.missing_reason)
    except EngineMissingError as error:
        return f"Nothing of it runs here: {escape(str(error))}"
    return f"Here it would run [bold]{choice.id}[/]: {escape(choice.reason)}.\n[dim]Order of choice: {order}.[/]"
