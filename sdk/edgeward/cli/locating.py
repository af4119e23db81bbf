"""`edgeward verify --locate`: the first layer of each failing variant whose output departs, or that nothing departs.

Foreign code runs in a worker, so a native crash is one variant's reason and no more.
"""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct
from rich.text import Text

from edgeward.cli import output
from edgeward.cli.output import number, table
from edgeward_converters import sources
from edgeward_converters.layers.examination import Artifact, Examined, Task, examine
from edgeward_converters.layers.finding import Finding
from edgeward_converters.sources import Source
from edgeward_converters.sources.recognize import recognize
from edgeward_converters.worker import Worker
from edgeward_runtimes.bundle import Bundle, Release
from edgeward_runtimes.errors import ConfigError, EdgewardError
from edgeward_runtimes.golden import Check
from edgeward_runtimes.manifest import Manifest, Tensor, Variant

_KEYS = ("layer", "operator", "nearest_source_layer", "max_abs_error", "cosine", "reason")
_LONGEST_NAME = 60
_AGREES, _DEPARTS = Text("✓", "green"), Text("✗", "red")


class Located(Struct, frozen=True):
    """What was found of one variant; `compared_with` says with what, in words. `trouble` is why nothing could be."""

    id: str
    examined: Examined | None
    compared_with: str
    trouble: str | None = None

    def as_json(self) -> dict[str, object]:
        """`located` as scripts get it: null for a variant that passes."""
        examined = self.examined or Examined(note=self.trouble)
        located = _figures(examined.located)
        if examined.note is not None:
            located = {**dict.fromkeys(_KEYS), "reason": examined.note}
        return {
            "located": located,
            "largest_error": _figures(examined.largest_error),
            "compared_with": self.compared_with or None,
        }


def locate(bundle: Path, checks: Sequence[Check], given: str | None) -> list[Located]:
    """Walk every variant of a bundle.

    Args:
        bundle: The bundle's file.
        checks: The verdict on each variant.
        given: The source model as `convert` takes it, where it is at hand.

    Raises:
        SourceError: When the source cannot be read.
        ConfigError: When it is not the bundle's.
    """
    with (
        Bundle.open(bundle).unpacked() as release,
        tempfile.TemporaryDirectory(prefix="edgeward-locate-") as folder,
        Worker() as worker,
        output.chatter.status("running every variant layer by layer …"),
    ):
        source = None if given is None else _source(worker, given, Path(folder), release.manifest)
        passed = {check.id for check in checks if check.passed}
        return [_located(worker, release, variant, passed, source) for variant in release.manifest.variants]


def show(found: Sequence[Located]) -> None:
    """Print a sentence and the layers around for each variant that departs, and one table of all that do not."""
    for each in found:
        if each.trouble is not None:
            output.people.print(Text(f"\n{each.id}: {each.trouble}"))
        elif each.examined is not None and each.examined.note is not None:
            output.people.print(Text(f"\n{each.id}, compared with {each.compared_with}: {each.examined.note}."))
        elif each.examined is not None and each.examined.located is not None:
            _show_departure(each, each.examined.located)
    right = [each for each in found if each.examined is not None and each.examined.largest_error is not None]
    if right:
        _show_largest_errors(right, nothing_departs=len(right) == len(found))


def _source(worker: Worker, given: str, folder: Path, manifest: Manifest) -> Source:
    source = worker.run(sources.describe, recognize(given, folder), folder)
    for what, ours, theirs in (("takes", manifest.inputs, source.inputs), ("gives", manifest.outputs, source.outputs)):
        if [each.shape[1:] for each in ours] != [each.shape[1:] for each in theirs]:
            raise ConfigError(
                f"{given} {what} {_shapes(theirs)}, the bundle's model {_shapes(ours)}: it is another model. "
                "Pass the one that the bundle was made from."
            )
    return source


def _shapes(tensors: Sequence[Tensor]) -> str:
    return ", ".join(f"{each.name} ({', '.join(str(size or 'any') for size in each.shape)})" for each in tensors)


def _located(worker: Worker, release: Release, variant: Variant, passed: set[str], source: Source | None) -> Located:
    references = _references(release, variant, passed, source)
    if not references and source is None:
        return Located(variant.id, None, "", "there is nothing to compare its layers with; pass --source MODEL.")
    names = [each.id for each in references] or ["the source" if source is None else source.path.name]
    golden, manifest = release.golden(), release.manifest
    task = Task(
        variant=_artifact(release, variant),
        references=tuple(_artifact(release, each) for each in references),
        source=source,
        inputs=manifest.inputs,
        outputs=manifest.outputs,
        golden=(golden.inputs, golden.outputs),
        tolerance=manifest.golden.tolerance[variant.id],
    )
    try:
        examined = worker.run(examine, task)
        if variant.id not in passed and examined.largest_error is not None:
            examined = Examined(note="here it is right: the fault is in the device's engine")
        return Located(variant.id, examined, ", ".join(names))
    except ConfigError:
        raise
    except EdgewardError as error:
        return Located(variant.id, None, ", ".join(names), str(error))


def _references(release: Release, variant: Variant, passed: set[str], source: Source | None) -> list[Variant]:
    """Its engine's float variant for one of another precision; else the source alone, or all other float variants."""
    floats = [each for each in release.manifest.variants if each.precision == "fp32" and each.id in passed]
    same_engine = [each for each in floats if each.engine == variant.engine and each.id != variant.id]
    if variant.precision != "fp32" and same_engine:
        return same_engine
    return [] if source is not None else [each for each in floats if each.id != variant.id]


def _artifact(release: Release, variant: Variant) -> Artifact:
    return Artifact(variant.id, variant.engine, variant.precision, release.artifact(variant))


def _figures(finding: Finding | None) -> dict[str, object] | None:
    return None if finding is None else {key: getattr(finding, key) for key in _KEYS}


def _show_departure(each: Located, finding: Finding) -> None:
    where = f", where the source has {short(finding.nearest_source_layer)}" if finding.nearest_source_layer else ""
    figures = f"max abs error {number(finding.max_abs_error)}, cosine {number(finding.cosine, 4)}"
    output.people.print(
        Text.assemble(
            f"\n{each.id}: the first layer whose output departs is {finding.operator} ",
            (short(finding.layer), "bold"),
            f"{where}: {figures}. Compared with {each.compared_with}: {finding.reason}.",
        )
    )
    rows = [
        (
            _AGREES if step.agrees else _DEPARTS,
            short(step.source_layer),
            short(step.layer),
            step.operator,
            number(step.max_abs_error),
            number(step.cosine, 4),
        )
        for step in finding.around
    ]
    table("Around it", ("", "source layer", "variant layer", "operator", "max abs error", "cosine"), rows)


def _show_largest_errors(found: Sequence[Located], nothing_departs: bool) -> None:
    if nothing_departs:
        output.people.print("\nNothing departs.")
    rows = [
        (
            each.id,
            each.compared_with,
            short(worst.nearest_source_layer),
            short(worst.layer),
            worst.operator,
            number(worst.max_abs_error),
            number(worst.cosine, 4),
        )
        for each in found
        if each.examined is not None and (worst := each.examined.largest_error) is not None
    ]
    columns = ("variant", "compared with", "source layer", "variant layer", "operator", "max abs error", "cosine")
    table("The layer with the largest error", columns, rows)


def short(name: str | None) -> str:
    """A layer's name as a table has room for: of several names joined the longest, without Python's module paths."""
    if name is None:
        return "–"
    name = max((part for part in name.split(";")), key=len)
    name = re.sub(r"(Stateful)?PartitionedCall/|(?<=/)[\w.]+\.(?=\w)|^__main__\.", "", name)
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"
