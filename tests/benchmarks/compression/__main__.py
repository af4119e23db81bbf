"""Measure every promise of compression, print the tables, write the page; exit 1 when a promise is not kept."""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from edgeward_converters import Conversion, Worker
from tests.benchmarks import document, machine
from tests.benchmarks.compression import by_hand, models, rows, searching
from tests.benchmarks.compression.by_hand import Failure, Point
from tests.benchmarks.compression.models import Subject
from tests.benchmarks.compression.rows import Promise, by_recipe, plain

_INTRODUCTION = """
# Compression

What a recipe's steps and the choice of precisions give on real models, and beside it what a user gets by hand from each
library alone, in the same run on the same data. Accuracy is that of the evaluation data, which nothing was fitted to;
sizes are those of the artifacts; speed is a ratio within one process, in turns, one thread. The recipes are files under
`tests/benchmarks/compression/recipes`. `make bench-compress` measures again and rewrites the tables; with `--only` one
of the models.
"""
_LITERT = ("litert-fp32", "litert-fp16", "litert-int8_dynamic", "litert-int8", "litert-mixed")
_OTHERS = tuple(f"{engine}-{precision}" for engine in ("onnxruntime", "openvino") for precision in ("fp32", "int8"))
_DROP = 0.02  # for the fronts: what a variant may lose and still be a point


class Measured:
    """One subject's conversions, promises and what comes by hand."""

    def __init__(self, worker: Worker, subject: Subject) -> None:
        self.worker, self.subject = worker, subject
        self.plain = plain(worker, subject, [*_LITERT, *_OTHERS], _DROP)
        self.conversions: list[Conversion] = [self.plain]

    def compressed(self, recipe: str, variant_id: str, max_drop: float) -> rows.Compressed:
        """Convert by a recipe, and keep what it gives for the front."""
        made = by_recipe(self.worker, self.subject, recipe, variant_id, max_drop)
        self.conversions.append(made.conversion)
        return made

    def by_hand(self) -> list[Point | Failure]:
        """What each library gives alone."""
        manifest = self.plain.bundle.manifest
        return list(by_hand.points(self.worker, self.subject, manifest.inputs, manifest.outputs))


def _resnet8(measured: Measured) -> Iterator[Promise]:
    yield from searching.resnet8(measured.subject)
    small = measured.compressed("resnet8_small", "litert-int4", 0.0048)
    yield rows.at_most(
        "ResNet8, with fine-tuning: bytes at 75.0 %", small.size_bytes, 40_000, rows.said(small), "bytes"
    )
    fast = measured.compressed("resnet8_fast", "litert-int8", 0.01)
    ratio = rows.times_faster(measured.plain, "litert-int8", fast.conversion, fast.variant.id)
    yield rows.at_least("ResNet8, channels pruned, distilled, int8: times as fast as int8", ratio, 2, rows.said(fast))
    measured.compressed(
        "resnet8_accurate", "openvino-int8", _DROP
    )  # a point of the front, of which nothing is promised


def _mnist_cnn(measured: Measured) -> Iterator[Promise]:
    small = measured.compressed("mnist_cnn", "litert-int8", 0.003)
    source = rows.size_of(measured.plain, "litert-fp32")
    smaller = source / small.size_bytes
    faster = rows.times_faster(measured.plain, "litert-fp32", small.conversion, small.variant.id)
    what = "MNIST CNN, at a drop of 0.3 points or less: times as small as its float file"
    yield rows.at_least(what, smaller, 20, rows.said(small))
    yield rows.at_least("the same: times as fast on LiteRT", faster, 3, rows.said(small))
    measured.compressed(
        "mnist_cnn_accurate", "litert-int8", 0.003
    )  # a point of the front, of which nothing is promised


def _imdb_lstm(measured: Measured) -> Iterator[Promise]:
    small = measured.compressed("imdb_lstm", "litert-fp16", 0.005)
    smaller = rows.size_of(measured.plain, "litert-fp32") / small.size_bytes
    what = "IMDB LSTM, at a drop of 0.5 points or less: times as small as its float file"
    yield rows.at_least(what, smaller, 6, rows.said(small))


def _mlp(measured: Measured) -> Iterator[Promise]:
    small = measured.compressed("mlp", "litert-fp32", 0.005)
    what = "MLP 784-1024-1024-10, low-rank, at a drop of 0.5 points or less: times fewer MACs"
    yield rows.at_least(what, small.macs_ratio, 4, rows.said(small))


_SUBJECTS: dict[str, tuple[Callable[[Worker], Subject], Callable[[Measured], Iterator[Promise]]]] = {
    "resnet8": (models.resnet8, _resnet8),
    "mnist_cnn": (models.mnist_cnn, _mnist_cnn),
    "imdb_lstm": (models.imdb_lstm, _imdb_lstm),
    "mlp": (models.mlp, _mlp),
}


def main() -> int:
    """Measure, print, write; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="rewrite the tables in this page")
    parser.add_argument("--only", action="append", metavar="SUBJECT", choices=list(_SUBJECTS), help="one of them")
    options = parser.parse_args()
    is_kept = True
    with Worker() as worker:
        for name, (make, promised) in _SUBJECTS.items():
            if options.only and name not in options.only:
                continue
            measured = Measured(worker, make(worker))
            promises = [_said(each) for each in promised(measured)]
            front = rows.front(measured.conversions, measured.by_hand())
            promises.append(_said(rows.ahead(name, front)))
            report = _report(name, promises, front)
            print(report, flush=True)
            is_kept = is_kept and all(each.is_kept for each in promises)
            if options.write is not None:
                document.write_part(options.write, f"bench-compress {name}", report, _INTRODUCTION)
    return 0 if is_kept else 1


def _said(promise: Promise) -> Promise:
    print(promise, file=sys.stderr, flush=True)
    return promise


def _report(name: str, promises: list[Promise], front: list[rows.Compared]) -> str:
    cells = [(each.what, each.measured, each.must_be, each.verdict) for each in promises]
    table = document.table(("", "measured", "must be", ""), cells)
    return f"## {name}\n\n{machine.describe()}.\n\n{table}\n\n{rows.front_table(front)}"


if __name__ == "__main__":
    sys.exit(main())
