"""What `edgeward tune` finds, by the command itself, timed by the clock as a user would."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from tests.benchmarks.compression.models import Subject
from tests.benchmarks.compression.rows import Promise, at_most

_SECONDS = 180


def resnet8(subject: Subject) -> Iterator[Promise]:
    """After training only: the smallest point at 75.0 % or more."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "edgeward", "tune", str(subject.source), "-o", folder, "--json"]
        command += ["--calibration", str(subject.training), "--evaluation", str(subject.evaluation)]
        command += ["--max-drop", "0.0048", "--max-size", "54000", "--variant", "litert-mixed"]
        command += ["--time-limit", "60"]  # so that what has begun by then ends in time
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        took_s = time.perf_counter() - started
        if done.returncode != 0:
            raise SystemExit(f"edgeward tune failed:\n{done.stderr}")
        smallest = min(json.loads(done.stdout)["points"], key=lambda point: point["size_bytes"])
    said = f"{smallest['size_bytes']:,} bytes at {smallest['metric']:.2%}"
    yield at_most("ResNet8, after training only, by `edgeward tune`: bytes", smallest["size_bytes"], 54_000, said)
    yield at_most("the same: seconds that the search took", took_s, _SECONDS, f"{took_s:.0f} s", "s")
