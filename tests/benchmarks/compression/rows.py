"""What compression promises, measured: each row converts by a recipe of `recipes/` and compares with what was there."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import edgeward
from edgeward_converters import Conversion, Worker, convert
from edgeward_converters.report import Outcome, Report
from tests.benchmarks import timing
from tests.benchmarks.compression.models import Subject

RECIPES = Path(__file__).parent / "recipes"
_TURNS = 101


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


def kept(conversions: Sequence[Conversion]) -> list[Outcome]:
    """Every variant of every conversion that was kept."""
    return [each for conversion in conversions for each in conversion.report.variants if each.kept]
