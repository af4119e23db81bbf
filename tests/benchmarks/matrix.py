"""Every family from every source to every engine: `python -m tests.benchmarks.matrix [--write docs/conversions.md]`.

Trains the families (`tests/families`), converts each of their sources, compares what the engines predict with the
source's own answers, prints the table, and exits with 1 when a cell is empty. With `--write` the table goes into the
page, between `<!-- matrix -->` and `<!-- /matrix -->`.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from msgspec import Struct

from edgeward_converters.worker import Worker
from edgeward_runtimes.errors import EdgewardError
from tests.benchmarks import document, machine
from tests.families import FAMILIES, SOURCES, Family, SourceKind, cells, writing
from tests.families.cells import ENGINES, Cell

_FOLDER = Path("build") / "families"
_PACKAGES = (
    "tensorflow-cpu",
    "keras",
    "torch",
    "litert-torch",
    "onnx",
    "tf2onnx",
    "onnxscript",
    "ai-edge-quantizer",
)
_INTRODUCTION = """
# Conversions

Which models can be converted, from what, for which engine. Each family is a small model of a real architecture, written
once in Keras and once in PyTorch as their tutorials write it (`tests/families`), trained for some seconds, and saved as
users save it:

| source      | what is given to `edgeward convert`                                                                    |
| ----------- | ------------------------------------------------------------------------------------------------------ |
| keras       | a `.keras` file                                                                                        |
| saved_model | a folder by `model.export`; for cifar10_cnn and seq2seq_step by `tf.saved_model.save`                  |
| torch       | a `.pt2` file by `torch.export`; face_embedding takes one sample and autoencoder four, the rest any    |
| onnx        | an `.onnx` file by `torch.onnx.export`, for mnist_cnn and gru by Keras's `model.export(format="onnx")` |

Every source is converted to the fp32 variant of every engine by `edgeward convert` and nothing else, and then one
sample and five samples are predicted. A cell with ✓ says by how much the predictions differ at most from what the
source's own framework answers, as a part of the largest answer of the same output, which must not be more than 1e-4,
and how long it took to convert and prove the variant. A cell with ✗ is empty, and the reason stands below the table.
`make matrix` makes all of it anew and rewrites the table.

## Family × source × engine
"""


class Row(Struct, frozen=True):
    """A family from one source, and its cells in the order of `ENGINES`."""

    family: str
    source: SourceKind
    cells: list[Cell]


def measure(families: Sequence[Family], sources: Sequence[SourceKind], folder: Path) -> list[Row]:
    """Train, write, convert and compare, and tell how far it is on standard error."""
    asked = [(family, source) for family in families for source in sources]
    rows = []
    with Worker() as worker:
        for number, (family, source) in enumerate(asked, 1):
            start = time.monotonic()
            row = Row(family.name, source, _cells(worker, family, source, folder))
            rows.append(row)
            told = "  ".join(f"{cell.engine} {_text(cell)}" for cell in row.cells)
            seconds = time.monotonic() - start
            print(
                f"{number:>3}/{len(asked)} {seconds:5.0f} s  {row.family} {source}: {told}", file=sys.stderr, flush=True
            )
    return rows


def _cells(worker: Worker, family: Family, source: SourceKind, folder: Path) -> list[Cell]:
    try:
        made = worker.run(writing.write, family, source, folder)
    except (EdgewardError, ModuleNotFoundError) as error:
        return [Cell(engine, reason=f"the source cannot be written: {error}") for engine in ENGINES]
    return cells.convert(made, worker)


def _text(cell: Cell) -> str:
    if cell.reason is not None:
        return f"✗ {cell.reason}"
    error = f"{cell.error:.0e}" if cell.error else "0"
    return f"✓ {error}, {cell.seconds:.1f} s"


def report(rows: Sequence[Row], seconds: float, others: float) -> str:
    """What is printed and written: when and where, the table, and the reasons of empty cells."""
    when = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    reasons: list[str] = []
    lines = [(row.family, row.source, *(_numbered(row, cell, reasons) for cell in row.cells)) for row in rows]
    full = sum(cell.reason is None for row in rows for cell in row.cells)
    versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    parts = [
        f"Measured on {when}: {machine.describe()}, {versions}. {full} of {len(rows) * len(ENGINES)} cells are full. "
        f"All of it took {seconds / 60:.0f} minutes, while other programs had {others:.0%} of the processors' time.",
        document.table(("family", "source", *ENGINES), lines),
    ]
    if reasons:
        parts.append("\n".join(f"{number}. {reason}" for number, reason in enumerate(reasons, 1)))
    return "\n\n".join(parts)


def _numbered(row: Row, cell: Cell, reasons: list[str]) -> str:
    """A cell of the table; why it is empty goes to the list below."""
    if cell.reason is None:
        return _text(cell)
    reasons.append(f"{row.family}, {row.source} → {cell.engine}: {' '.join(cell.reason.split())}")
    return f"✗ {len(reasons)}"


def _options() -> argparse.Namespace:
    names = [family.name for family in FAMILIES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="rewrite the table in this page")
    parser.add_argument("--families", type=Path, default=_FOLDER, metavar="FOLDER", help="keep what was trained here")
    parser.add_argument("--family", action="append", choices=names, help="this family alone; may be repeated")
    parser.add_argument("--source", action="append", choices=SOURCES, help="this source alone; may be repeated")
    options = parser.parse_args()
    if options.write and (options.family or options.source):
        parser.error("--write takes the whole table: leave --family and --source out")
    return options


def main() -> int:
    """Measure, print, write; the exit code."""
    options, neighbours, start = _options(), machine.Neighbours(), time.monotonic()
    families = [each for each in FAMILIES if not options.family or each.name in options.family]
    rows = measure(families, options.source or SOURCES, options.families)
    page = report(rows, time.monotonic() - start, neighbours.share())
    print(page)
    if options.write is not None:
        document.write_part(options.write, "matrix", page, _INTRODUCTION)
    return int(any(cell.reason is not None for row in rows for cell in row.cells))


if __name__ == "__main__":
    sys.exit(main())
