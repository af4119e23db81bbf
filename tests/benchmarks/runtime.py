"""What edgeward costs above the engines: `python -m tests.benchmarks.runtime [--write docs/performance.md]`.

Measures `predict` and its kin against what a careful user writes by hand on the same artifact, in one process and in
turns (see `timing`), prints the table, and exits with 1 when a figure misses what we promise. With `--write` the table
goes into the page, between `<!-- bench-runtime -->` and `<!-- /bench-runtime -->`.
"""

import argparse
import gc
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from msgspec import Struct

import edgeward
from edgeward_runtimes.bundle import Bundle
from edgeward_runtimes.latency.recorder import Recorder
from edgeward_runtimes.model import Model
from tests.benchmarks import document, fresh, litert_ways, machine, models, parallel, timing
from tests.benchmarks.models import Array
from tests.benchmarks.raw import Raw, open_raw
from tests.benchmarks.timing import Turns

ENGINES = ("litert", "onnxruntime", "openvino")
_INTRODUCTION = """
# Performance

Nobody should have a reason to call an engine directly. So `predict` is measured against what a careful user writes by
hand on the same artifact with the same settings, one thread a call: LiteRT's `set_tensor`, `invoke`, `get_tensor`;
ONNX Runtime's `session.run(None, {name: x})`; OpenVINO's
`infer_request.infer({0: x}, share_inputs=True, share_outputs=True)`. What edgeward adds is in its figures: input
checks, quantized inputs and outputs, a result of the caller's own, and the latency count.

A fresh process is timed from its start to its end, with everything compiled to byte code, as pip leaves it. The LiteRT
bundle holds LiteRT variants alone: a bundle's seal is a digest of all that is in it, so variants that a device does not
run cost it time. An installed model was checked when it was installed.

Both sides run in one process, in turns, and a figure is the median over the turns; for streams, threads and fresh
processes over those in which other programs had least of the machine. Times differ from machine to machine and from
hour to hour; ratios within one run are what counts. `make bench-runtime` measures again and rewrites the table.

## Above the engine
"""


class Row(Struct, frozen=True):
    """One line of the table; `met` is None where nothing is promised."""

    what: str
    measured: str
    must_be: str
    met: bool | None

    @classmethod
    def at_most(cls, what: str, figure: float, limit: float, measured: str, unit: str = "") -> "Row":
        """A figure that must not be above its limit."""
        return cls(what, measured, f"≤ {limit:g}{unit}", figure <= limit)

    @classmethod
    def at_least(cls, what: str, figure: float, limit: float, measured: str) -> "Row":
        """A figure that must not be below its limit."""
        return cls(what, measured, f"≥ {limit:g}", figure >= limit)

    @property
    def verdict(self) -> str:
        """For the last column."""
        return {True: "met", False: "not met", None: "–"}[self.met]


class Bench:
    """The two bundles, and pairs of a model and its raw session opened from them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.dense, self.resnet8 = _bundle(folder, "dense"), _bundle(folder, "resnet8")
        self._releases = {
            path: stack.enter_context(Bundle.open(path).unpacked()) for path in (self.dense, self.resnet8)
        }

    def artifact(self, bundle: Path, variant: str) -> Path:
        """The file that a variant's engine opens."""
        release = self._releases[bundle]
        return release.artifact(release.manifest.variant(variant))

    @contextmanager
    def pair(self, bundle: Path, engine: str, precision: str = "fp32") -> Iterator[tuple[Model, Raw]]:
        """The same artifact behind edgeward and by hand."""
        variant = f"{engine}-{precision}"
        with edgeward.load(bundle, variant=variant, threads=1) as model:
            yield model, open_raw(engine, self.artifact(bundle, variant))


def measure(bench: Bench, folder: Path) -> Iterator[Row]:
    """Every row, in the order of the table; `folder` is for what they need."""
    yield from _small_calls(bench)
    yield _resnet8_calls(bench)
    yield _stream(bench)
    yield _threads(bench)
    yield from _fresh_process(bench, folder)
    yield _count()
    yield _out(bench)


def _bundle(folder: Path, name: str) -> Path:
    path = folder / f"{name}.edge"
    return path if path.exists() else {"dense": models.dense, "resnet8": models.resnet8}[name](folder)


def _small_calls(bench: Bench) -> Iterator[Row]:
    x = np.random.default_rng(0).normal(size=(1, 16)).astype(np.float32)
    turns = {}
    for engine in ENGINES:
        with bench.pair(bench.dense, engine) as (model, raw):
            turns[engine] = _calls(model, raw, x)
    added = turns["litert"].difference("edgeward", "raw") * 1e6
    yield Row.at_most(
        "two-layer dense model, LiteRT: `predict` − (set_tensor, invoke, get_tensor)",
        added,
        1.5,
        f"{added:.2f} µs ({_two(turns['litert'], ' − ', 1e6, 'µs')})",
        " µs",
    )
    for engine, what, limit in (
        ("onnxruntime", "same, ONNX Runtime: `predict` ÷ `session.run`", 1.0),
        ("openvino", "same, OpenVINO: `predict` ÷ `infer_request.infer` (shared memory)", 0.7),
    ):
        ratio = turns[engine].ratio("edgeward", "raw")
        yield Row.at_most(what, ratio, limit, f"{ratio:.2f} ({_two(turns[engine], ' ÷ ', 1e6, 'µs')})")


def _resnet8_calls(bench: Bench) -> Row:
    x = models.cifar10()[:1].astype(np.float32)
    ratios, times = {}, {}
    for engine in ENGINES:
        # Where an engine's memory happens to lie is worth a hundredth here, so both sides are opened several times.
        turns = Turns.joined(_opened_anew(bench, engine, x) for _ in range(15))
        ratios[engine], times[engine] = turns.ratio("edgeward", "raw"), _two(turns, " ÷ ", 1e6, "µs", ".0f")
    measured = ", ".join(f"{engine} {ratios[engine]:.3f} ({times[engine]})" for engine in ENGINES)
    what = "ResNet8 int8, every engine: `predict` ÷ the raw call"
    return Row.at_most(what, max(ratios.values()), 1.02, measured)


def _opened_anew(bench: Bench, engine: str, x: Array) -> Turns:
    with bench.pair(bench.resnet8, engine, "int8") as (model, raw):
        return _calls(model, raw, x, turns=51)


def _calls(model: Model, raw: Raw, x: Array, turns: int = 1001) -> Turns:
    statements = {"edgeward": "model.predict(x)", "raw": raw.statement}
    return timing.compare(statements, {"model": model, "x": x, **raw.names}, turns)


def _stream(bench: Bench) -> Row:
    ratios, times = {}, {}
    for engine in ENGINES:
        with bench.pair(bench.resnet8, engine) as (model, raw):
            turns = parallel.stream(model, raw)
        ratios[engine], times[engine] = turns.ratio("edgeward", "raw"), _two(turns, " ÷ ", 1e3, "ms", ".0f")
    measured = ", ".join(f"{engine} {ratios[engine]:.2f} ({times[engine]})" for engine in ENGINES)
    what = "64 × ResNet8 through `stream` ÷ a hand-written loop with the same preprocessing"
    return Row.at_most(what, max(ratios.values()), 0.75, measured)


def _threads(bench: Bench) -> Row:
    x = models.cifar10()[:1].astype(np.float32)
    ratios = {}
    for engine in ENGINES:
        with bench.pair(bench.resnet8, engine) as (model, _):
            ratios[engine] = parallel.threads(model, x).ratio("two", "one")
    best = max(ratios.values())
    measured = f"{best:.2f} ({', '.join(f'{engine} {ratio:.2f}' for engine, ratio in ratios.items())})"
    return Row.at_least("two threads ÷ one thread, predictions a second, ResNet8", best, 1.8, measured)


def _fresh_process(bench: Bench, folder: Path) -> Iterator[Row]:
    litert = models.alone(bench.resnet8, "litert", folder / "litert.edge")
    processes = fresh.Processes(litert, bench.resnet8, bench.artifact(bench.resnet8, "litert-fp32"), folder)
    turns = processes.cold_start_s()
    ratio = turns.ratio("edgeward", "raw")
    what = "`import edgeward; load; first predict` of a LiteRT bundle ÷ the raw interpreter doing the same"
    others = (
        f"installed {turns.ratio('installed', 'raw'):.2f}, a bundle for three engines {turns.ratio('whole', 'raw'):.2f}"
    )
    yield Row.at_most(what, ratio, 1.15, f"{ratio:.2f} ({_two(turns, ' ÷ ', 1e3, 'ms', '.0f')}); {others}")
    turns = processes.resident_mb()
    added = turns.difference("edgeward", "raw")
    what = "memory added over the raw interpreter, LiteRT ResNet8"
    installed = f"installed {turns.difference('installed', 'raw'):.1f} MB"
    yield Row.at_most(what, added, 6, f"{added:.1f} MB ({_two(turns, ' − ', 1, 'MB', '.1f')}); {installed}", " MB")


def _count() -> Row:
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder("toy", "1.0.0", Path(folder))
        turns = timing.compare({"count": "recorder.success(1_234_567)"}, {"recorder": recorder}, turns=1001)
        count_us = turns.median("count") * 1e6
        recorder.close()
    return Row.at_most("latency count per call", count_us, 0.5, f"{count_us:.2f} µs", " µs")


def _out(bench: Bench) -> Row:
    x = models.cifar10()[:8].astype(np.float32)
    measured = []
    for engine in ENGINES:
        with bench.pair(bench.resnet8, engine) as (model, _):
            kept, most = _allocated(model, x)
            measured.append(f"{engine} {max(0, kept)} ({most})")
    what = "bytes that 1000 × `predict(x, out=out)` keeps (and at most holds at once), 8 pictures"
    return Row(what, ", ".join(measured), "–", None)


def _allocated(model: Model, x: Array) -> tuple[int, int]:
    """Bytes that 1000 calls with `out=` leave allocated, and the most that five held at once."""
    out = model.predict(x)
    for _ in range(3):
        model.predict(x, out=out)
    gc.collect()
    tracemalloc.start()
    try:
        model.predict(x, out=out)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(5):
            model.predict(x, out=out)
        _, peak = tracemalloc.get_traced_memory()
        for _ in range(995):
            model.predict(x, out=out)
        gc.collect()  # Python itself keeps up to 2000 freed tuples of each size; this lets them go
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before, peak - before


def _two(turns: Turns, sign: str, scale: float, unit: str, digits: str = ".2f") -> str:
    ours, raw = (format(turns.median(side) * scale, digits) for side in ("edgeward", "raw"))
    return f"{ours}{sign}{raw} {unit}"


def _report(rows: list[Row], ways: list[tuple[str, str]], others: float) -> str:
    """What is printed and written: when and where, the table, and how LiteRT can be called."""
    when = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    cells = [(row.what, row.measured, row.must_be, row.verdict) for row in rows]
    return "\n\n".join(
        [
            f"Measured on {when}: {machine.describe()}. "
            f"Other programs had {others:.0%} of the processors' time meanwhile.",
            document.table(("", "measured", "must be", ""), cells),
            "Ways to run the dense model by LiteRT, of which the runtime takes the leanest:",
            document.table(("", "a call"), ways),
        ]
    )


def main() -> int:
    """Measure, print, write; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="rewrite the table in this page")
    parser.add_argument("--bundles", type=Path, metavar="FOLDER", help="take the bundles from here, or leave them here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgeward-bench-") as temporary, ExitStack() as stack:
        bench = Bench(options.bundles or Path(temporary), stack)
        neighbours = machine.Neighbours()
        rows = []
        for row in measure(bench, Path(temporary)):
            print(f"{row.verdict:>8}  {row.what}: {row.measured}", file=sys.stderr, flush=True)
            rows.append(row)
        ways = litert_ways.measure(bench.artifact(bench.dense, "litert-fp32"))
        report = _report(rows, ways, neighbours.share())
    print(report)
    if options.write is not None:
        document.write_part(options.write, "bench-runtime", report, _INTRODUCTION)
    return 1 if any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
