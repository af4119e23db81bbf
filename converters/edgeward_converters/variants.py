"""One variant, from the source to a judged artifact. Whatever fails in it is its own reason and nobody else's.

What is asked for is the first rung of a ladder (`quantizers.ladder`). A rung fails when its engine lacks it, when the
library raises or crashes, when the engine cannot run what came out, and when that misses the gate; then the next one is
tried. The variant is called after what it became, and a `Fallback` says what was asked for and why it is not that. Each
rung is made once for a conversion, so requests that end at the same artifact share it. An export that fails ends it:
there is nothing to quantize. So does a missing package, which is to be installed and not worked around.
"""

import time
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from edgeward_converters import evaluate, exporters, gate, quantizers
from edgeward_converters.data import Arrays, Labelled
from edgeward_converters.events import Finished, Progress, Started
from edgeward_converters.quantizers.ladder import FLOAT, PRECISIONS, Rung, called, ladder
from edgeward_converters.quantizers.litert_mixed_settings import Basis, Mixed
from edgeward_converters.report import Outcome
from edgeward_converters.sources import Source
from edgeward_converters.worker import Worker
from edgeward_runtimes.errors import ConfigError, ConversionError, EdgewardError
from edgeward_runtimes.manifest import Fallback, Quantization, Tolerance

ALL = tuple(f"{engine}-{precision}" for engine in exporters.SUFFIX for precision in PRECISIONS)
DEFAULT = tuple(f"{engine}-{precision}" for engine in exporters.SUFFIX for precision in ("fp32", "int8"))
_LONGEST_REASON = 200


class Made(Struct, frozen=True):
    """A variant that was tried. `files` are its artifact's, the one to open first; none when it failed before.

    `tolerance` is by output.
    """

    outcome: Outcome
    files: tuple[Path, ...] = ()
    tolerance: dict[str, Tolerance] = {}


class Task(Struct, frozen=True):
    """What all variants of one conversion share.

    Attributes:
        golden: Inputs and the source's outputs to them.
        seen: Data as the device shall see it, and the source's outputs to it: drift is judged against that.
        exported: Each engine's float artifact, or why there is none; filled as they are made.
        tried: Each rung of each engine; filled as they are made.
        calibration_y: What is true of the calibration data, where that is known.
        mixed: How mixed precisions are searched for.
    """

    source: Source
    folder: Path
    golden: tuple[Arrays, Arrays]
    calibration: Arrays | None
    evaluation: Labelled | None
    metric: str
    source_metric: float
    higher_is_better: bool
    max_drop: float
    exported: dict[str, list[Path] | EdgewardError] = {}
    tried: dict[tuple[str, Rung], Made] = {}
    calibration_y: NDArray[Any] | None = None
    seen: tuple[Arrays, Arrays] | None = None
    mixed: Mixed = Mixed()


def split(variant_id: str) -> tuple[str, str]:
    """Engine and precision of an id. Raises ConfigError."""
    if variant_id not in ALL:
        raise ConfigError(
            f"There is no variant {variant_id!r}. A variant is ENGINE-PRECISION, of the engines "
            f"{', '.join(exporters.SUFFIX)} and the precisions {', '.join(PRECISIONS)}."
        )
    engine, _, precision = variant_id.rpartition("-")
    return engine, precision


def make(worker: Worker, task: Task, variant_id: str, progress: Progress) -> Made:
    """Make one variant, or the nearest that works."""
    engine, precision = split(variant_id)
    started = time.monotonic()
    try:
        made = _climb_down(worker, task, variant_id, progress)
    except EdgewardError as error:
        made = _failed(engine, precision, str(error))
    except ModuleNotFoundError as error:
        made = _failed(engine, precision, f"needs the package {error.name!r}: pip install 'edgeward[convert]'")
    made = replace(made, outcome=replace(made.outcome, seconds=round(time.monotonic() - started, 2)))
    progress(Finished(made.outcome))
    return made


def _climb_down(worker: Worker, task: Task, variant_id: str, progress: Progress) -> Made:
    """Try one rung after another; the first that is kept, or the last with everybody's reasons."""
    engine, precision = split(variant_id)
    _export(worker, task, engine, variant_id, progress)
    rungs = ladder(engine, precision, calibrated=task.calibration is not None, given=task.source.precision)
    failures: dict[str, list[str]] = {}  # which rungs, by reason
    for rung in rungs:
        if (engine, rung) not in task.tried:
            task.tried[engine, rung] = _try(worker, task, engine, rung, variant_id, progress)
        made = task.tried[engine, rung]
        if made.outcome.kept:
            return _explained(made, rung, precision, failures, task.metric)
        failures.setdefault(made.outcome.reason or "", []).append(str(rung))
    reason = _listed(failures) if len(rungs) > 1 else made.outcome.reason
    return replace(made, outcome=replace(made.outcome, id=variant_id, precision=precision, reason=reason))


def _listed(failures: dict[str, list[str]]) -> str:
    """Which rungs failed, and why."""
    return "; ".join(f"{', '.join(rungs)}: {_shortened(reason)}" for reason, rungs in failures.items())


def _explained(made: Made, rung: Rung, asked: str, failures: dict[str, list[str]], metric: str) -> Made:
    """The variant with what to say where it is not what was asked for."""
    outcome = made.outcome
    if failures:
        drop = outcome.drop or 0.0
        falls = f"drops by {gate.figure(drop)}" if drop > 0 else "does not drop"
        note = f"{_listed(failures)}; in its place {rung}, whose {metric} {falls}"
    elif rung.way == "given" and outcome.precision != asked:
        note = f"the source itself is {rung.precision}"
    elif outcome.precision != asked:
        note = f"the same artifact as {outcome.id}"
    else:
        return made
    return replace(made, outcome=replace(outcome, fallback=Fallback(requested=asked, note=note)))


def _try(worker: Worker, task: Task, engine: str, rung: Rung, variant_id: str, progress: Progress) -> Made:
    """Make and judge one artifact; `variant_id` is who asked for it first."""
    precision = called(rung, split(variant_id)[1])
    try:
        files, quantization = artifact(worker, task, engine, rung, variant_id, progress)
        progress(Started(variant_id, "measure"))
        return measured(worker, task, _named(engine, precision), files, quantization)
    except EdgewardError as error:
        return _failed(engine, precision, str(error))


def artifact(
    worker: Worker, task: Task, engine: str, rung: Rung, variant_id: str, progress: Progress
) -> tuple[list[Path], Quantization | None]:
    """Write a rung's artifact, from the engine's float one."""
    exported = _export(worker, task, engine, variant_id, progress)
    if rung == FLOAT:
        return exported, None
    if rung.way == "given":
        return exported, worker.run(quantizers.given, engine, exported[0])
    progress(Started(variant_id, "quantize"))
    path = task.folder / f"{engine}-{rung.precision}-{rung.way or 'only'}{exporters.SUFFIX[engine]}"
    if rung.precision == "mixed":
        basis = _basis(task)
        return worker.run(quantizers.quantize_mixed, engine, exported[0], path, task.mixed, basis)
    calibration, batch = quantizers.first(task.calibration), task.source.batch or 1
    return worker.run(quantizers.quantize, engine, rung, exported[0], path, calibration, batch)


def _basis(task: Task) -> Basis:
    """What a mixed precision is chosen by. Raises ConversionError where there is no calibration data."""
    if task.calibration is None:
        raise ConversionError("needs calibration data")
    return Basis(
        calibration=task.calibration,
        y=task.calibration_y,
        inputs=task.source.inputs,
        outputs=task.source.outputs,
        metric=task.metric,
        max_drop=task.max_drop,
        batch=task.source.batch or 1,
    )


def _export(worker: Worker, task: Task, engine: str, variant_id: str, progress: Progress) -> list[Path]:
    """The engine's float artifact, which serves all its precisions. Raises the same again where it failed."""
    if engine not in task.exported:
        progress(Started(variant_id, "export"))
        try:
            artifact = task.folder / f"{engine}-fp32{exporters.SUFFIX[engine]}"
            task.exported[engine] = worker.run(exporters.export, engine, task.source, artifact)
        except EdgewardError as error:
            task.exported[engine] = error
    exported = task.exported[engine]
    if isinstance(exported, EdgewardError):
        raise exported
    return exported


def measured(
    worker: Worker, task: Task, outcome: Outcome, files: list[Path], quantization: Quantization | None
) -> Made:
    """Measure and judge an artifact. Raises EdgewardError where the engine cannot run it."""
    source = task.source
    found = worker.run(
        evaluate.measure_artifact,
        files[0],
        outcome.engine,
        source.inputs,
        source.outputs,
        task.golden,
        task.evaluation,
        task.metric,
    )
    drop = task.source_metric - found.metric if task.higher_is_better else found.metric - task.source_metric
    expected = task.golden[1]
    missed = gate.judge(outcome.precision, found.comparisons, expected, drop, task.max_drop, task.metric)
    reason = missed or found.lost
    return Made(
        replace(
            outcome,
            kept=reason is None,
            reason=reason,
            quantization=quantization,
            size_bytes=sum(file.stat().st_size for file in files),
            metric=found.metric,
            drop=drop,
            latency_ms=found.latency_ms,
            comparisons=found.comparisons,
        ),
        tuple(files),
        gate.tolerance(outcome.precision, found.comparisons, expected),
    )


def _named(engine: str, precision: str) -> Outcome:
    return Outcome(id=f"{engine}-{precision}", engine=engine, precision=precision, kept=False, seconds=0.0)


def _failed(engine: str, precision: str, reason: str) -> Made:
    return Made(replace(_named(engine, precision), reason=reason))


def _shortened(reason: str) -> str:
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}…"
