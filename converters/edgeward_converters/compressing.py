"""A recipe's part in a conversion: checked before anything runs, then its steps taken, then the result described anew.

The steps run in the worker, but for a live PyTorch module: that is in this process already, and its class may be one of
the user's own script, which no other process can import.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgeward_converters import sources
from edgeward_converters.compress import run
from edgeward_converters.compress.recipe import Recipe
from edgeward_converters.compress.run import Compressed, Material, Told
from edgeward_converters.data import Arrays, Data
from edgeward_converters.events import Progress, Stepping
from edgeward_converters.quantizers import CALIBRATION_SAMPLES
from edgeward_converters.report import StageRow
from edgeward_converters.sources import Source
from edgeward_converters.sources.recognize import Given
from edgeward_converters.worker import Worker
from edgeward_runtimes.errors import ConfigError, ConversionError

_MOST_SHARED = 0.1  # real data repeats itself a little


def check_data(recipe: Recipe, *, training: Any, calibration: Any, evaluation: Any) -> None:
    """Refuse a recipe whose steps lack their data. Raises ConfigError."""
    if not recipe.step:
        return
    if evaluation is None:
        raise ConfigError("A recipe's steps change the model: give evaluation data (--evaluation) to judge them by.")
    given = {"training": training, "unlabelled": training if calibration is None else calibration}
    options = {"training": "labelled training data (--training XY.npz)", "unlabelled": "inputs (--calibration X.npz)"}
    for number, step in enumerate(recipe.step, 1):
        for need in sorted(step.needs):
            if given[need] is None:
                method = step.__struct_config__.tag
                raise ConfigError(f"Step {number} of the recipe ({method}) needs {options[need]}.")


def check_apart(found: Data) -> None:
    """Refuse evaluation samples that something was fitted to: they would judge too kindly. Raises ConfigError."""
    if found.evaluation is None:
        return
    judged = _fingerprints(found.evaluation.inputs)
    for name, arrays in (("training", found.trained_on), ("calibration", found.calibration)):
        shared = 0 if arrays is None else len(judged & _fingerprints(arrays))
        if shared > _MOST_SHARED * len(judged):
            raise ConfigError(
                f"{shared} of the {len(judged)} evaluation samples are {name} samples as well, so the evaluation would "
                f"judge what was fitted to it. Give --evaluation samples that are not in --{name}."
            )


def judged_on_held_back(found: Data, seed: int) -> tuple[Arrays | None, Any]:
    """Calibration data whose later part, on which mixed precisions are judged, no step was trained on; and its labels.

    Ranges come from the first samples as ever; what follows are the labelled samples that steps held back.
    """
    _, held = run.split(found.training, seed)
    if held is None or found.calibration is None:
        return found.calibration, found.calibration_y
    first = {name: array[:CALIBRATION_SAMPLES] for name, array in found.calibration.items()}
    unused = np.zeros((len(next(iter(first.values()))), *held.y.shape[1:]), held.y.dtype)
    return {name: np.concatenate([array, held.inputs[name]]) for name, array in first.items()}, np.concatenate(
        [unused, held.y]
    )


def take_steps(
    worker: Worker, live: Any, given: Given, source: Source, recipe: Recipe, material: Material, progress: Progress
) -> tuple[Source, tuple[StageRow, ...]]:
    """Take the steps; the source that they leave, and the stages on the way. `live` is what the user gave."""
    folder = source.canonical.parent / "compressed"

    def told(message: Told) -> None:
        progress(Stepping(message.method, message.what, message.done))

    if given.kind == "torch" and not isinstance(live, str | os.PathLike):
        done = _here(live, given, recipe, material, folder, told)
    else:
        done = worker.run_heard(told, run.compress_file, given, recipe.step, material, folder)
    left = worker.run(sources.describe, done.given, folder)
    if (left.inputs, left.outputs) != (source.inputs, source.outputs):
        raise ConversionError(
            f"The recipe changed the model's inputs or outputs: {left.inputs}, {left.outputs}; "
            f"expected {source.inputs}, {source.outputs}. Leave its last layers out of the recipe's steps."
        )
    return left, done.stages


def _here(
    live: Any, given: Given, recipe: Recipe, material: Material, folder: Path, told: Callable[[Told], None]
) -> Compressed:
    folder.mkdir(parents=True, exist_ok=True)
    pair = live if isinstance(live, tuple) or not callable(live) else live()
    model, stages = run.compress_live(run.duplicate(run.of_pair(pair)), recipe.step, material, told)
    return Compressed(run.saved(model, given, folder), stages)


def _fingerprints(inputs: Arrays) -> set[bytes]:
    """One digest per sample, over all of its inputs."""
    count = len(next(iter(inputs.values())))
    ordered = [inputs[name] for name in sorted(inputs)]
    return {
        hashlib.blake2b(b"".join(array[index].tobytes() for array in ordered), digest_size=16).digest()
        for index in range(count)
    }
