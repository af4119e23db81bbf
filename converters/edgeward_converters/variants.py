"""One variant, from the source to a judged artifact. Whatever fails in it is its own reason and nobody else's."""

import time
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from edgeward_converters import evaluate, exporters, gate, quantizers
from edgeward_converters.data import Arrays, Labelled
from edgeward_converters.events import Finished, Progress, Started
from edgeward_converters.report import Outcome
from edgeward_converters.sources import Source
from edgeward_converters.worker import Worker
from edgeward_runtimes.errors import ConfigError, EdgewardError
from edgeward_runtimes.golden import worst
from edgeward_runtimes.manifest import Quantization, Tolerance

PRECISIONS = ("fp32", "int8")
ALL = tuple(f"{engine}-{precision}" for engine in exporters.SUFFIX for precision in PRECISIONS)


class Task(Struct, frozen=True):
    """What all variants of one conversion share. `golden` is inputs and the source's outputs to them."""

    source: Source
    folder: Path
    golden: tuple[Arrays, Arrays]
    calibration: Arrays | None
    evaluation: Labelled | None
    metric: str
    source_metric: float
    higher_is_better: bool
    max_drop: float


class Made(Struct, frozen=True):
    """A variant that was tried. `files` are its artifact's, the one to open first; none when it failed before.

    `tolerance` is by output.
    """

    outcome: Outcome
    files: tuple[Path, ...] = ()
    tolerance: dict[str, Tolerance] = {}


def split(variant_id: str) -> tuple[str, str]:
    """Engine and precision of an id. Raises ConfigError."""
    if variant_id not in ALL:
        raise ConfigError(f"There is no variant {variant_id!r}; there are {', '.join(ALL)}.")
    engine, _, precision = variant_id.rpartition("-")
    return engine, precision


def make(worker: Worker, task: Task, variant_id: str, progress: Progress) -> Made:
    """Export, quantize, measure and judge one variant."""
    engine, precision = split(variant_id)
    started = time.monotonic()
    failure = Outcome(id=variant_id, engine=engine, precision=precision, kept=False, seconds=0.0)
    try:
        files, quantization = _build(worker, task, variant_id, progress)
        progress(Started(variant_id, "measure"))
        made = _measured(worker, task, failure, files, quantization)
    except EdgewardError as error:
        made = Made(replace(failure, reason=str(error)))
    except ModuleNotFoundError as error:
        made = Made(replace(failure, reason=f"needs the package {error.name!r}: pip install 'edgeward[convert]'"))
    made = replace(made, outcome=replace(made.outcome, seconds=round(time.monotonic() - started, 2)))
    progress(Finished(made.outcome))
    return made


def _build(worker: Worker, task: Task, variant_id: str, progress: Progress) -> tuple[list[Path], Quantization | None]:
    """Write the variant's artifact; an engine's float artifact is made once and serves its int8 one as well."""
    engine, precision = split(variant_id)
    suffix = exporters.SUFFIX[engine]
    float_artifact = task.folder / f"{engine}-fp32{suffix}"
    float_files = [float_artifact, float_artifact.with_suffix(".bin")] if suffix == ".xml" else [float_artifact]
    if not float_artifact.exists():
        progress(Started(variant_id, "export"))
        float_files = worker.run(exporters.export, engine, task.source, float_artifact)
    if precision == "fp32":
        return float_files, None
    progress(Started(variant_id, "quantize"))
    artifact = task.folder / f"{variant_id}{suffix}"
    return worker.run(quantizers.quantize, engine, float_artifact, artifact, task.calibration)


def _measured(
    worker: Worker, task: Task, outcome: Outcome, files: list[Path], quantization: Quantization | None
) -> Made:
    source = task.source
    measured = worker.run(
        evaluate.measure_artifact,
        files[0],
        outcome.engine,
        source.inputs,
        source.outputs,
        task.golden,
        task.evaluation,
        task.metric,
    )
    drop = task.source_metric - measured.metric if task.higher_is_better else measured.metric - task.source_metric
    expected = task.golden[1]
    reason = gate.judge(outcome.precision, measured.comparisons, expected, drop, task.max_drop, task.metric)
    return Made(
        replace(
            outcome,
            kept=reason is None,
            reason=reason,
            quantization=quantization,
            size_bytes=sum(file.stat().st_size for file in files),
            metric=measured.metric,
            drop=drop,
            latency_ms=measured.latency_ms,
            comparison=worst(measured.comparisons),
        ),
        tuple(files),
        gate.tolerance(outcome.precision, measured.comparisons, expected),
    )
