"""What edgeward's proof costs: converting ResNet8 to six variants ÷ the libraries alone, in turns, in one warm worker.

    python -m tests.benchmarks.conversion [--turns 5]

Written into docs/performance.md with --write.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from edgeward_converters import Worker, convert
from tests.benchmarks import by_hand, machine
from tests.benchmarks.document import table, write_part
from tests.benchmarks.models import data_folder
from tests.benchmarks.timing import Turns, take_turns

ALLOWED = 1.10


def measure(turns: int) -> Turns:
    """Seconds of a conversion, by edgeward and by hand."""
    source = data_folder() / "mlperf_tiny" / "pretrainedResnet.h5"
    with np.load(data_folder() / "cifar10_train_10k.npz") as split:
        pictures = split["x"][:512].astype(np.float32)
    with Worker() as worker:

        def edgeward() -> float:
            started = time.perf_counter()
            conversion = convert(source, calibration=pictures, max_drop=0.1, worker=worker)
            took = time.perf_counter() - started
            assert len(conversion.bundle.manifest.variants) == 6, conversion.report
            return took

        def libraries() -> float:
            with tempfile.TemporaryDirectory() as folder:
                return worker.run(by_hand.convert, source, pictures, Path(folder))

        return take_turns({"edgeward": edgeward, "libraries": libraries}, turns)


def main() -> None:
    """Measure, print, write; exit 1 beyond what is allowed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--write", type=Path, help="The page to write the table into.")
    options = parser.parse_args()
    taken = measure(options.turns)
    ratio = taken.ratio("edgeward", "libraries")
    part = table(
        ("ResNet8 to six variants, a warm worker", "measured", "must be"),
        [
            (
                "`convert` with its checks, names, proofs and latencies ÷ the libraries called by hand",
                f"{ratio:.2f}",
                f"≤ {ALLOWED:.2f}",
            )
        ],
    )
    print(part)
    if options.write is not None:
        introduction = "## Conversion\n\nWritten by `make bench`, the median of interleaved turns."
        write_part(options.write, "conversion", f"{part}\n\n{machine.describe()}.", introduction)
    sys.exit(0 if ratio <= ALLOWED else 1)


if __name__ == "__main__":
    main()
