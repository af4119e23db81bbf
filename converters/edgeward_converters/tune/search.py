"""`tune`, in order: check, describe, try, choose, score, write."""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from contextlib import ExitStack
from numbers import Real
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from edgeward_converters import compressing, data, metrics, options
from edgeward_converters.data import Arrays, Data
from edgeward_converters.tune import picture, space
from edgeward_converters.tune.laboratory import Assignment, Place, described
from edgeward_converters.tune.scoring import Scoring, remove_old
from edgeward_converters.tune.trials import Limits, Result, front, nearest, within
from edgeward_converters.tune.trying import Plan, Progress, tried
from edgeward_converters.variants import Made, split
from edgeward_runtimes.errors import ConfigError, ConversionError
from edgeward_targets.device import Device

_TRAINABLE = ("keras", "torch")


class Point(Struct, frozen=True):
    """One point of the front, as it was scored on the evaluation data.

    Attributes:
        bundle: The bundle's file in the folder.
        trial: Its number.
        recipe: What makes it again.
        held_back_drop: What the search saw, on the samples held back.
    """

    bundle: str
    trial: int
    variant: str
    recipe: dict[str, Any]
    metric: float
    drop: float
    held_back_drop: float
    size_bytes: int
    latency_ms: float | None


class Tuned(Struct, frozen=True):
    """The front, smallest first: `front.json`."""

    name: str
    metric: str
    source_metric: float
    samples: int
    limits: Limits
    device: str | None
    trials: int
    points: tuple[Point, ...]


def _unheard(result: Result, count: int) -> None:
    """Where nobody listens."""


def tune(
    source: Any,
    out: str | os.PathLike[str],
    *,
    calibration: data.Calibration,
    evaluation: data.Evaluation,
    max_drop: float,
    training: data.Evaluation | None = None,
    metric: str = "accuracy",
    max_size: int | None = None,
    max_latency: float | None = None,
    device: str | None = None,
    trials: int = 20,
    time_limit: float | None = None,
    variants: Sequence[str] | None = None,
    workers: str | None = None,
    seed: int = 0,
    name: str | None = None,
    progress: Progress = _unheard,
) -> Tuned:
    """Search recipes for the Pareto front of accuracy, size and latency, and write a bundle for each of its points.

    Args:
        source: As `convert` takes it; with `workers`, a path.
        out: A folder for `front.json`, `front.svg`, `NAME-1.edge` … and `trials.log`, from which a search goes on.
        calibration: Inputs, with labels `y` where there are any. A part of them is held back, and trials are judged
            on it: by labels, else by what the source expects of its own answers.
        evaluation: Inputs and `y`; the front alone is scored on them, and left out where it drops too far.
        max_drop: How much worse than the source's the metric may be.
        training: Inputs and `y`; with it, a Keras or PyTorch model is also pruned, factorized, distilled and trained.
        metric: accuracy, top5_accuracy, mae or mse.
        max_size: Bytes of an artifact.
        max_latency: Milliseconds of one prediction, here or on the device.
        device: Where latency is measured, e.g. `local:DIR`; by default where the trial was done.
        trials: How many, those that are there already included.
        time_limit: Seconds after which no trial is begun; the front is then that of the trials there are.
        variants: Which variants may be tried; by default all but those that are never on a front.
        workers: None, `ray` or `ray://…`.
        seed: The same gives the same trials, sizes and accuracies, however many workers there are.
        name: The bundles' name; by default the source file's.
        progress: Called with every finished trial.

    Raises:
        ConfigError: For an option that cannot be met, before anything is run or written.
        InputError: When the data does not fit the source.
        SourceError: When the source cannot be read.
        ConversionError: When no trial is within the limits; the nearest is named.
    """
    limits = _limits(max_drop, max_size, max_latency)
    _check_positive("time_limit (--time-limit)", time_limit)
    metrics.get(metric)
    wanted = _variants(variants)
    if trials < 1:
        raise ConfigError(f"trials (--trials) is {trials}; expected at least 1.")
    if workers is not None and workers != "ray" and not workers.startswith("ray://"):
        raise ConfigError(
            f"workers (--workers) is {workers!r}; expected ray, or the cluster's address as ray://HOST:PORT."
        )
    name = None if name is None else options.name("name", name)
    folder = _folder(Path(out))
    target = None if device is None else Device(device)
    with ExitStack() as stack:
        place = described(source, stack)
        found = data.read(place.source.inputs, calibration, evaluation, training)
        compressing.check_apart(found)
        has_steps = found.training is not None and place.given.kind in _TRAINABLE
        samples, y = found.calibration or {}, found.calibration_y
        assignment = Assignment(source, samples, y, found.training, metric, limits.max_drop, seed)
        about = _about(place, found, metric, limits, wanted, seed, device, has_steps)
        assert found.evaluation is not None  # noqa: S101  # read above
        scoring = Scoring(place, assignment, found.evaluation, folder, name)
        plan = Plan(about, wanted, has_steps, trials, time_limit, workers, target)
        results = tried(folder, plan, assignment, place, scoring, progress)
        chosen = _chosen(results, limits, scoring, metric, folder)
        return _written(folder, chosen, results, scoring, metric, len(found.evaluation.y), limits, device)


def _limits(max_drop: float, max_size: int | None, max_latency: float | None) -> Limits:
    _check_positive("max_size (--max-size)", max_size)
    _check_positive("max_latency (--max-latency)", max_latency)
    drop = options.max_drop(max_drop)
    if drop == 0:
        raise ConfigError(
            "max_drop (--max-drop) is 0; expected a positive number: of samples, no drop is ever certain."
        )
    return Limits(drop, max_size, max_latency)


def _check_positive(option: str, value: float | None) -> None:
    if value is not None and not (isinstance(value, Real) and math.isfinite(value) and value > 0):
        raise ConfigError(f"{option} is {value!r}; expected a positive number.")


def _variants(given: Sequence[str] | None) -> list[str]:
    if given is None:
        return list(space.SEARCHED)
    if not given:
        raise ConfigError(f"The list of variants is empty; name some of {', '.join(space.SEARCHED)}.")
    for each in given:
        split(each)
    return list(dict.fromkeys(given))


def _folder(folder: Path) -> Path:
    """The folder, which is not made yet."""
    place = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise ConfigError(f"{folder} cannot be written: {place} is no folder to write to. Name another one by -o.")
    return folder


def _about(
    place: Place,
    found: Data,
    metric: str,
    limits: Limits,
    wanted: Sequence[str],
    seed: int,
    device: str | None,
    has_steps: bool,
) -> dict[str, Any]:
    """What makes two searches the same: another size or latency may be asked of the same trials."""
    return {
        "source": place.source.sha256,
        "calibration": _digest(found.calibration or {}, found.calibration_y),
        "training": None if found.training is None else _digest(found.training.inputs, found.training.y),
        "metric": metric,
        "max_drop": limits.max_drop,
        "variants": list(wanted),
        "seed": seed,
        "device": device,
        "steps": has_steps,
    }


def _digest(inputs: Arrays, y: Any) -> str:
    found = hashlib.sha256()
    for name, array in sorted(inputs.items()):
        found.update(name.encode() + array.tobytes())
    if y is not None:
        found.update(y.tobytes())
    return found.hexdigest()


def _chosen(
    results: Sequence[Result], limits: Limits, scoring: Scoring, metric: str, folder: Path
) -> list[tuple[Result, Made]]:
    """The front of what is within the limits, on the evaluation data as well. Raises ConversionError."""
    able = [each for each in results if within(each, limits)]
    scored: dict[int, Made] = {}
    while able:
        points = front(able)
        for each in points:
            if each.place not in scored:
                scored[each.place] = scoring.score(each)
        lost = {each.place for each in points if not scored[each.place].outcome.kept}
        if not lost:
            return [(each, scored[each.place]) for each in points]
        able = [each for each in able if each.place not in lost]
    raise ConversionError(_nothing(results, limits, scored, metric, folder))


def _nothing(results: Sequence[Result], limits: Limits, scored: dict[int, Made], metric: str, folder: Path) -> str:
    """What to say when there is no point: which trial came nearest, and what it lacks."""
    told = [f"a {metric} drop of {limits.max_drop:g}"]
    told += [f"{limits.max_size} bytes"] if limits.max_size is not None else []
    told += [f"{limits.max_latency:g} ms"] if limits.max_latency is not None else []
    missed = {place: made.outcome.reason for place, made in scored.items()}
    best = nearest([each for each in results if each.place not in missed] or results, limits)
    if best is None:
        reasons = "; ".join(dict.fromkeys(f"{each.variant}: {each.reason}" for each in results))
        return f"None of the {len(results)} trials gave a model: {reasons}."
    reason = f", but on the evaluation data {missed[best.place]}" if best.place in missed else ""
    return (
        f"None of the {len(results)} trials keeps within {' and '.join(told)}; the nearest, trial {best.place} "
        f"({best.title}), has {best.size_bytes} bytes, {best.latency_ms or 0:.3g} ms and a drop of up to "
        f"{best.bound:.4f} on the samples held back{reason}. Allow more, or raise --trials: these stay in {folder}."
    )


def _written(
    folder: Path,
    chosen: Sequence[tuple[Result, Made]],
    results: Sequence[Result],
    scoring: Scoring,
    metric: str,
    samples: int,
    limits: Limits,
    device: str | None,
) -> Tuned:
    """Write the bundles, the picture and at last `front.json`."""
    listing = folder / "front.json"
    if listing.is_file():
        remove_old(folder, [each["bundle"] for each in json.loads(listing.read_bytes())["points"]])
    points = []
    for number, (result, made) in enumerate(chosen, 1):
        bundle = f"{scoring.name}-{number}.edge"
        scoring.bundle(result, made, folder / bundle)
        points.append(_point(bundle, result, made))
    pictured = [
        picture.Pictured(number, result, point.metric)
        for number, ((result, _), point) in enumerate(zip(chosen, points, strict=True), 1)
    ]
    drawn = picture.to_svg(picture.draw(results, pictured, metric, scoring.source_metric))
    (folder / "front.svg").write_text(drawn)
    tuned = Tuned(scoring.name, metric, scoring.source_metric, samples, limits, device, len(results), tuple(points))
    listing.write_bytes(msgspec.json.format(msgspec.json.encode(tuned), indent=2) + b"\n")
    return tuned


def _point(bundle: str, result: Result, made: Made) -> Point:
    return Point(
        bundle=bundle,
        trial=result.place,
        variant=result.variant,
        recipe=result.recipe,
        metric=made.outcome.metric or 0.0,
        drop=made.outcome.drop or 0.0,
        held_back_drop=result.drop or 0.0,
        size_bytes=result.size_bytes or 0,
        latency_ms=result.latency_ms,
    )
