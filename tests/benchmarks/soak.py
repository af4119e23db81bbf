"""Ten minutes of everything at once: `python -m tests.benchmarks.soak [--predictions 1000000] [--minutes 10]`.

Four threads, each with a batch size of its own, share an installed model that is watched, while another process swaps
its release every second (install and rollback by turns) and folds the counts. Every answer is compared with the two
releases' own. At the end

- no call has failed, and every answer is one release's or the other's;
- for each release the device's totals are exactly the answers that came from it;
- the memory of the predicting process, its open files and its threads are flat after a warm-up.

Prints a table; exits with 1 when anything of this is off.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

import edgeward
from edgeward_runtimes.home import Home
from edgeward_runtimes.install.installer import install
from edgeward_runtimes.latency.fold import CounterStore
from edgeward_runtimes.model import Model
from tests.benchmarks import document, models
from tests.benchmarks.models import REPOSITORY, Array

_NAME = models.SOAKED
_THREADS = 4
_SWAP_EVERY_S = 1.0
_SAMPLE_EVERY_S = 1.0
_BURST = 50  # predictions in a row before a thread looks at the clock: threads then really meet
_WARM_UP = 0.2  # of the whole time
_FLAT_MB = 2.0


class Sample(Struct, frozen=True):
    """The predicting process at one instant."""

    at_s: float
    resident_mb: float
    open_files: int
    threads: int


class Finding(Struct, frozen=True):
    """One line of the table; `is_right` is None for what is only told."""

    what: str
    found: str
    is_right: bool | None = None


class Worker(threading.Thread):
    """Predicts its share, paced over the time, and notes which release each answer came from."""

    def __init__(self, model: Model, batch: int, answers: dict[str, Array], share: int, seconds: float) -> None:
        super().__init__(name=f"predict-{batch}")
        self.answered: Counter[str] = Counter()
        self.moves = 0
        self.error: str | None = None
        self._model, self._share, self._seconds = model, share, seconds
        self._x = _inputs()[:batch]
        self._answers = {release: answer[:batch] for release, answer in answers.items()}

    def run(self) -> None:
        try:
            self._work()
        except Exception as error:  # told in the table, whatever it is
            self.error = f"{type(error).__name__}: {error}"

    def _work(self) -> None:
        start, last = time.monotonic(), None
        for done in range(self._share):
            if done % _BURST == 0:
                time.sleep(max(0.0, start + self._seconds * done / self._share - time.monotonic()))
            release = self._release_of(self._model.predict(self._x))
            self.answered[release] += 1
            self.moves += release != last and last is not None
            last = release

    def _release_of(self, answer: Any) -> str:
        for release, expected in self._answers.items():
            if answer.shape == expected.shape and np.allclose(answer, expected, atol=1e-5):
                return release
        return "neither"


def soak(folder: Path, predictions: int, seconds: float) -> list[Finding]:
    """The whole of it, on a device under `folder`; gives the table's lines."""
    home = Home.under(folder / "device")
    os.environ.update(home.environment)
    older, newer = _bundle(folder, "1.0.0"), _bundle(folder, "1.1.0")
    answers, releases = {}, {}
    for bundle in (newer, older):  # so that the older one is current when the swapper begins with the newer
        releases[bundle] = install(home, bundle).release
        with edgeward.load(bundle) as model:
            answers[releases[bundle]] = model.predict(_inputs())
    model = edgeward.load(_NAME, watch=True, threads=1)
    share = predictions // _THREADS
    workers = [Worker(model, batch + 1, answers, share, seconds) for batch in range(_THREADS)]
    started = time.monotonic()
    with _swapping(newer) as swapper:
        for worker in workers:
            worker.start()
        samples = list(_sampled(workers))
        took_s = time.monotonic() - started
        swaps = _end(swapper)
    model.close()
    counted = _counted(home)
    return [
        Finding("time", f"{took_s:.0f} s, {share * _THREADS / took_s:.0f} predictions a second"),
        *_answers_and_counts(workers, counted, share * _THREADS),
        *_swaps(workers, swaps),
        *_flatness(samples),
    ]


def _bundle(folder: Path, version: str) -> Path:
    """Two dense layers on LiteRT, made in a process of its own: TensorFlow's memory is not ours to watch."""
    making = "import sys, pathlib, tests.benchmarks.models as m; m.soaked(pathlib.Path(sys.argv[1]), sys.argv[2])"
    subprocess.run([sys.executable, "-c", making, folder, version], cwd=REPOSITORY, check=True, capture_output=True)
    return folder / f"{version}.edge"


def _inputs() -> Array:
    return np.random.default_rng(0).normal(size=(_THREADS, 16)).astype(np.float32)


@contextmanager
def _swapping(newer: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "tests.benchmarks.swapper", _NAME, str(newer), str(_SWAP_EVERY_S)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _end(swapper: "subprocess.Popen[str]") -> int:
    """Close the swapper's input; the number of swaps that it made."""
    told, _ = swapper.communicate(timeout=60)
    if swapper.returncode != 0:
        raise SystemExit("the process that swaps releases failed; see above")
    return int(told)


def _sampled(workers: list[Worker]) -> Iterator[Sample]:
    """Look at this process every second for as long as all workers work; ends when none does."""
    started = time.monotonic()
    while all(worker.is_alive() for worker in workers):
        resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
        yield Sample(
            time.monotonic() - started,
            resident_pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
            sum(1 for _ in Path("/proc/self/fd").iterdir()),
            threading.active_count(),
        )
        workers[0].join(_SAMPLE_EVERY_S)
    for worker in workers:
        worker.join()


def _counted(home: Home) -> Counter[str]:
    """The device's totals by release, and the errors of all."""
    store = CounterStore(home)
    totals = store.collect().get(_NAME, ())
    store.close()
    counted: Counter[str] = Counter()
    for each in totals:
        counted[each.release] += each.predictions
        counted["errors"] += each.errors
    return counted


def _answers_and_counts(workers: list[Worker], counted: Counter[str], predictions: int) -> Iterator[Finding]:
    answered = sum((worker.answered for worker in workers), Counter())
    failures = [worker.error for worker in workers if worker.error is not None]
    yield Finding("calls that failed", "; ".join(failures) or "none", not failures)
    yield Finding("predictions made", f"{answered.total()} of {predictions}", answered.total() == predictions)
    wrong = answered.pop("neither", 0)
    yield Finding("answers that were neither release's", f"{wrong}", wrong == 0)
    for release, count in sorted(answered.items()):
        yield Finding(
            f"answered by {release}, and counted by the device",
            f"{count}, {counted[release]}",
            count == counted[release] and count > 0,
        )
    yield Finding("errors counted by the device", f"{counted['errors']}", counted["errors"] == 0)


def _swaps(workers: list[Worker], swaps: int) -> Iterator[Finding]:
    seen = min(worker.moves for worker in workers)
    yield Finding("swaps made", f"{swaps}", swaps > 0)
    # The last one may come after the last prediction; the others stand for a second, and are looked for twice in it.
    yield Finding("moves between releases in each thread's answers, at least", f"{seen}", seen >= 0.9 * (swaps - 1))


def _flatness(samples: list[Sample]) -> Iterator[Finding]:
    warm = [sample for sample in samples if sample.at_s >= _WARM_UP * samples[-1].at_s]
    resident = [sample.resident_mb for sample in warm]
    slope = float(np.polyfit([sample.at_s for sample in warm], resident, 1)[0]) if len(warm) > 1 else 0.0
    spread = max(resident) - min(resident)
    yield Finding(
        "resident memory at the start, after warm-up, at the end", _three(samples, warm, "resident_mb", " MB")
    )
    yield Finding(
        f"resident memory after warm-up: spread (at most {_FLAT_MB:g} MB), slope",
        f"{spread:.2f} MB, {slope * 60:+.3f} MB a minute",
        spread <= _FLAT_MB,
    )
    # A release more is open while the model moves.
    for what, allowed in (("open_files", 4), ("threads", 0)):
        figures = [getattr(sample, what) for sample in warm]
        yield Finding(
            f"{what.replace('_', ' ')} after warm-up, least and most",
            f"{min(figures)}, {max(figures)}",
            max(figures) - min(figures) <= allowed,
        )


def _three(samples: list[Sample], warm: list[Sample], what: str, unit: str) -> str:
    return ", ".join(f"{getattr(sample, what):.1f}" for sample in (samples[0], warm[0], samples[-1])) + unit


def main() -> int:
    """Soak, print, judge; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgeward-soak-") as folder:
        findings = soak(Path(folder), options.predictions, options.minutes * 60)
    verdicts = {True: "right", False: "WRONG", None: "–"}
    cells = [(finding.what, finding.found, verdicts[finding.is_right]) for finding in findings]
    print(document.table(("", "found", ""), cells))
    return 1 if any(finding.is_right is False for finding in findings) else 0


if __name__ == "__main__":
    sys.exit(main())
