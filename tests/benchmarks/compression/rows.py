"""What compression promises, measured: each row converts by a recipe of `recipes/` and compares with what was there."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

import edgeward
from edgeward_converters import Conversion, Worker, convert
from edgeward_converters.report import Outcome, Report
from tests.benchmarks import document, timing
from tests.benchmarks.compression.by_hand import Failure, Point
from tests.benchmarks.compression.models import Subject

RECIPES = Path(__file__).parent / "recipes"
_TURNS = 101


class Promise(Struct, frozen=True):
    """One line of the table."""

    what: str
    measured: str
    must_be: str
    is_kept: bool

    @property
    def verdict(self) -> str:
        """For the last column."""
        return "met" if self.is_kept else "not met"


def at_most(what: str, figure: float, limit: float, said: str, unit: str = "") -> Promise:
    """A figure that must not be above its limit."""
    return Promise(what, said, f"≤ {limit:,g} {unit}".rstrip(), figure <= limit)


def at_least(what: str, figure: float, limit: float, said: str) -> Promise:
    """A figure that must not be below its limit."""
    return Promise(what, f"{figure:.3g} ({said})", f"≥ {limit:g}", figure >= limit)


class Compressed:
    """A subject after one recipe: the conversion, and the variant that the promise is about."""

    def __init__(self, subject: Subject, conversion: Conversion, variant_id: str) -> None:
        self.subject, self.conversion = subject, conversion
        self.variant = next(each for each in conversion.report.variants if each.asked == variant_id)
        if not self.variant.kept:
            raise SystemExit(f"{subject.name}: {variant_id} was left out: {self.variant.reason}")

    @property
    def report(self) -> Report:
        """What the conversion did."""
        return self.conversion.report

    @property
    def drop(self) -> float:
        """How much worse than the source, in points of accuracy."""
        return 100 * (self.variant.drop or 0.0)

    @property
    def size_bytes(self) -> int:
        """Of the variant's files."""
        return self.variant.size_bytes or 0

    @property
    def macs_ratio(self) -> float:
        """Multiply-accumulates of the source over those of what the recipe left."""
        return self.report.stages[0].macs / self.report.stages[-1].macs


def by_recipe(worker: Worker, subject: Subject, name: str, variant_id: str, max_drop: float) -> Compressed:
    """Convert by a recipe, whose variants are those of its file."""
    conversion = convert(
        subject.source,
        recipe=RECIPES / f"{name}.toml",
        training=subject.training,
        calibration=subject.training,
        evaluation=subject.evaluation,
        max_drop=max_drop,
        worker=worker,
    )
    return Compressed(subject, conversion, variant_id)


def plain(worker: Worker, subject: Subject, variants: Sequence[str], max_drop: float) -> Conversion:
    """Convert without a recipe: after the training, and no further."""
    return convert(
        subject.source,
        variants=variants,
        calibration=subject.training,
        evaluation=subject.evaluation,
        max_drop=max_drop,
        worker=worker,
    )


def times_faster(slow: Conversion, slow_id: str, quick: Conversion, quick_id: str) -> float:
    """How many predictions of the second variant go into one of the first: one thread, in turns, in one process."""
    with tempfile.TemporaryDirectory() as temporary:
        paths = [Path(temporary) / f"{index}.edge" for index in range(2)]
        for path, conversion in zip(paths, (slow, quick), strict=True):
            conversion.bundle.save(path)
        with (
            edgeward.load(paths[0], variant=slow_id, threads=1) as first,
            edgeward.load(paths[1], variant=quick_id, threads=1) as second,
        ):
            x = slow.bundle.golden().inputs[first.inputs[0].name][:1]
            statements = {"slow": "first.predict(x)", "quick": "second.predict(x)"}
            turns = timing.compare(statements, {"first": first, "second": second, "x": x}, _TURNS)
    return turns.ratio("slow", "quick")


def said(made: Compressed) -> str:
    """The variant's size and accuracy in words."""
    return f"{made.size_bytes:,} bytes at {made.variant.metric or 0:.2%}, source {made.report.source_metric:.2%}"


def size_of(conversion: Conversion, variant_id: str) -> int:
    """A kept variant's bytes."""
    return conversion.bundle.manifest.variant(variant_id).size_bytes


class Compared(Struct, frozen=True):
    """What a library gives alone, and the smallest variant of edgeward's that is as good or better on the engine."""

    theirs: Point | Failure
    ours: Outcome | None

    @property
    def is_ahead(self) -> bool:
        """Whether ours is as small and as good at least."""
        return isinstance(self.theirs, Failure) or (
            self.ours is not None and (self.ours.size_bytes or 0) <= self.theirs.size_bytes
        )


def front(conversions: Sequence[Conversion], by_hand: Sequence[Point | Failure]) -> list[Compared]:
    """Each point by hand beside ours."""
    variants = [each for made in conversions for each in made.report.variants if each.kept]
    return [Compared(theirs, _answer_to(theirs, variants)) for theirs in by_hand]


def _answer_to(theirs: Point | Failure, variants: Sequence[Outcome]) -> Outcome | None:
    """The smallest variant on the same engine that is as good; of a failure, the smallest there is."""
    metric = theirs.metric if isinstance(theirs, Point) else 0.0
    fit = [each for each in variants if each.engine == theirs.engine and (each.metric or 0.0) >= metric]
    return min(fit, key=lambda each: each.size_bytes or 0, default=None)


def ahead(name: str, compared: Sequence[Compared]) -> Promise:
    """That no point by hand is ahead of ours."""
    count = sum(each.is_ahead for each in compared)
    what = f"{name}: points by hand that one of edgeward's equals or beats in size and accuracy"
    return Promise(what, f"{count} of {len(compared)}", "all", count == len(compared))


def front_table(compared: Sequence[Compared]) -> str:
    """Every point by hand, and ours."""
    cells = [
        (
            each.theirs.how,
            _point(each.theirs.size_bytes, each.theirs.metric) if isinstance(each.theirs, Point) else "fails",
            "–" if each.ours is None else f"{each.ours.id}, {_point(each.ours.size_bytes, each.ours.metric)}",
        )
        for each in compared
    ]
    return document.table(("by hand", "bytes, accuracy", "edgeward, as accurate or better"), cells)


def _point(size_bytes: int | None, metric: float | None) -> str:
    return f"{size_bytes or 0:,} at {metric or 0:.2%}"
