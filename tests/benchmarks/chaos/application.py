"""What predicts on a device: `python -m tests.benchmarks.chaos.application NAME LEDGERS EVERY_S`.

It writes down each prediction before and after it is made, in a file of its own that is mapped into memory: what is
written there outlives kill -9, as the counts do that it is compared with. The two numbers differ by one while a
prediction is being made: killed at that very moment, it may have been counted or not.
"""

import mmap
import os
import signal
import struct
import sys
import time
from pathlib import Path

import numpy as np

import edgeward

ENTRY = struct.Struct("<QQ")  # begun, done


def main(name: str, ledgers: Path, every_s: float) -> None:
    """Predict until SIGTERM."""
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.append(number))
    model = edgeward.load(name)
    release = Path(os.environ["EDGEWARD_HOME"], "models", name, "current").resolve().name
    x = np.zeros([size or 1 for size in model.inputs[0].shape], model.inputs[0].dtype)
    path = ledgers / f"{release}.{os.getpid()}.{time.monotonic_ns()}"
    path.write_bytes(bytes(ENTRY.size))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), ENTRY.size) as ledger:
        done = 0
        while not stopping:
            ledger[:8] = (done + 1).to_bytes(8, "little")
            model.predict(x)
            done += 1
            ledger[8:] = done.to_bytes(8, "little")
            time.sleep(every_s)
    model.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
