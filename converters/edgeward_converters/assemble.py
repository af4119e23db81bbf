"""From kept variants to a bundle's manifest and files."""

import os
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from edgeward_converters.data import Arrays
from edgeward_converters.quantizers import CALIBRATION_SAMPLES
from edgeward_converters.report import Report
from edgeward_converters.report_page import to_html
from edgeward_converters.variants import Made, Task
from edgeward_runtimes import bundle as bundles
from edgeward_runtimes.manifest import (
    SCHEMA,
    File,
    Golden,
    Manifest,
    Metric,
    Preprocess,
    Provenance,
    Reference,
    Statistics,
    Variant,
)
from edgeward_runtimes.observation import features
from edgeward_runtimes.observation import reference as references
from edgeward_runtimes.samples import GoldenSamples

_TOOLS = (
    "edgeward",
    "tensorflow-cpu",
    "tensorflow",
    "keras",
    "tf2onnx",
    "onnx",
    "onnxruntime",
    "openvino",
    "nncf",
    "ai-edge-litert",
    "ai-edge-quantizer",
    "numpy",
)


def assemble(
    task: Task,
    report: Report,
    kept: Sequence[Made],
    labels: Sequence[str] | None,
    preprocess: Preprocess | None,
    recipe: dict[str, Any],
    seed: int,
) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest, and every file that it declares."""
    contents: dict[str, bytes] = {}
    variants = _variants(kept, contents)
    contents["golden.npz"] = GoldenSamples(*task.golden).encode()
    golden = bundles.declare("golden.npz", contents["golden.npz"])
    manifest = Manifest(
        schema=SCHEMA,
        name=report.name,
        version=report.version,
        created=_now(),
        inputs=task.source.inputs,
        outputs=task.source.outputs,
        variants=variants,
        golden=Golden(
            path=golden.path,
            size_bytes=golden.size_bytes,
            sha256=golden.sha256,
            samples=_count(task.golden[0]),
            tolerance={made.outcome.id: made.tolerance for made in kept},
        ),
        provenance=Provenance(source_sha256=task.source.sha256, tools=_tools(), recipe=recipe, seed=seed),
        metric=Metric(name=report.metric, value=report.source_metric, samples=report.samples),
        labels=None if labels is None else tuple(labels),
        preprocess=preprocess,
        reference=_reference(task),
        attachments=tuple(_attachments(task, report, labels, contents)),
    )
    return manifest, contents


def _variants(kept: Sequence[Made], contents: dict[str, bytes]) -> tuple[Variant, ...]:
    """One variant per artifact, with the requests that ended at it instead of what they asked for."""
    by_id: dict[str, list[Made]] = {}
    for made in kept:
        by_id.setdefault(made.outcome.id, []).append(made)
    return tuple(_variant(same, contents) for same in by_id.values())


def _variant(same: Sequence[Made], contents: dict[str, bytes]) -> Variant:
    made, outcome = same[0], same[0].outcome
    files = []
    for file in made.files:
        path = f"variants/{outcome.id}{file.suffix}"
        contents[path] = file.read_bytes()
        files.append(bundles.declare(path, contents[path]))
    return Variant(
        id=outcome.id,
        engine=outcome.engine,
        precision=outcome.precision,
        files=tuple(files),
        size_bytes=sum(file.size_bytes for file in files),
        metric=outcome.metric,
        quantization=outcome.quantization,
        latency_ms=outcome.latency_ms,
        fallbacks=tuple(each.outcome.fallback for each in same if each.outcome.fallback is not None),
    )


def _attachments(task: Task, report: Report, labels: Sequence[str] | None, contents: dict[str, bytes]) -> list[File]:
    attached = {"report.html": to_html(report)}
    if task.seen is not None:
        classes = features.classes_of(task.source.outputs[0], labels, report.metric)
        attached[references.FILE] = references.encode(references.reference(*task.seen, classes))
    if labels is not None:
        attached["labels.txt"] = "".join(f"{label}\n" for label in labels).encode()
    contents.update(attached)
    return [bundles.declare(path, content) for path, content in attached.items()]


def _reference(task: Task) -> Reference | None:
    """Statistics of the calibration data, against which drift is judged on the device."""
    if task.calibration is None:
        return None
    inputs = {name: array[:CALIBRATION_SAMPLES] for name, array in task.calibration.items()}
    return Reference(inputs=_statistics(inputs), outputs=_statistics(task.golden[1]))


def _statistics(arrays: Arrays) -> dict[str, Statistics]:
    """By tensor, of what is finite: JSON has no number for the rest."""
    found = {}
    for name, array in arrays.items():
        values = array[np.isfinite(array)].astype(np.float64)
        if not values.size:
            continue
        deciles = np.quantile(values, np.linspace(0, 1, 11))
        found[name] = Statistics(mean=float(values.mean()), std=float(values.std()), quantiles=tuple(deciles.tolist()))
    return found


def _count(arrays: Arrays) -> int:
    return len(next(iter(arrays.values())))


def _now() -> datetime:
    """The time, or SOURCE_DATE_EPOCH where a build wants to be reproducible (reproducible-builds.org)."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    return datetime.fromtimestamp(int(epoch), timezone.utc) if epoch else datetime.now(timezone.utc)


def _tools() -> dict[str, str]:
    tools = {}
    for name in _TOOLS:
        try:
            tools[name] = version(name)
        except PackageNotFoundError:
            continue
    return tools
