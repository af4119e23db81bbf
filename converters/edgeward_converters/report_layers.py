"""The report's rows layer by layer: sizes for every variant, and what quantization did to those that are quantized."""

import math
from collections.abc import Sequence
from pathlib import Path

from edgeward_converters.data import Arrays
from edgeward_converters.events import Progress, Started
from edgeward_converters.layers.quantization import LayerError, quantization_error
from edgeward_converters.layers.tracing import LayerSize, sizes
from edgeward_converters.report import LayerRow
from edgeward_converters.variants import Made, Task
from edgeward_converters.worker import Worker
from edgeward_runtimes.errors import EdgewardError

_SAMPLES = 8  # of the golden ones: each runs layer by layer through two artifacts


def of_variants(
    worker: Worker, task: Task, made: Sequence[Made], progress: Progress
) -> dict[str, tuple[LayerRow, ...]]:
    """Rows by id, for the variants that have an artifact; where an engine cannot be looked into, there are none."""
    inputs = {name: array[:_SAMPLES] for name, array in task.golden[0].items()}
    rows: dict[str, tuple[LayerRow, ...]] = {}
    for each in made:
        if each.files and each.outcome.id not in rows:
            progress(Started(each.outcome.id, "look into"))
            rows[each.outcome.id] = _rows(worker, task, each, inputs)
    return rows


def _rows(worker: Worker, task: Task, made: Made, inputs: Arrays) -> tuple[LayerRow, ...]:
    engine, artifact, exported = made.outcome.engine, made.files[0], task.exported.get(made.outcome.engine)
    try:
        if isinstance(exported, list) and exported[0] != artifact:
            return _with_errors(worker, engine, exported[0], artifact, inputs)
        return tuple(map(_sized, worker.run(sizes, engine, artifact)))
    except EdgewardError:  # the variant itself is proved; only its inside cannot be shown
        return ()


def _with_errors(worker: Worker, engine: str, exported: Path, artifact: Path, inputs: Arrays) -> tuple[LayerRow, ...]:
    return tuple(map(_compared, worker.run(quantization_error, engine, exported, artifact, inputs)))


def _sized(size: LayerSize) -> LayerRow:
    return LayerRow(size.name, size.operator, size.weights_bytes)


def _compared(error: LayerError) -> LayerRow:
    sqnr_db = error.sqnr_db if math.isfinite(error.sqnr_db) else None
    return LayerRow(error.name, error.operator, error.weights_bytes, sqnr_db, error.max_abs_error)
