"""What one ingest process takes: `python -m tests.benchmarks.fleet [--write docs/performance.md] [--seconds 60]`.

A real Mosquitto, a generator in a process of its own, an ingest process with a SQLite store, all on this machine. Exits
with 1 when a figure misses what we promise. With `--write` the table goes into the page, between `<!-- bench-fleet -->`
and `<!-- /bench-fleet -->`. Presence of many devices is `python -m tests.benchmarks.fleet.presence`.
"""

import argparse
import socket
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

from tests.benchmarks import document, machine
from tests.benchmarks.fleet import running
from tests.benchmarks.fleet.running import Taken
from tests.benchmarks.fleet.templates import Templates

_RATE = 20_000
_HIGHER = (24_000, 28_000, 32_000, 36_000, 40_000)
_SHARE_OF_BARE = 0.4
_MORE_MEMORY = 1.1
_INTRODUCTION = """
## Ingest

One process takes what devices report from a broker into SQLite, each batch in a transaction. The load is DDATA of
10,000 devices with two models each, every message with cumulative counters of 24 histogram buckets, one after the
other, so that a batch hardly ever has two messages for one row; pre-encoded, sent over one connection by a process of
its own. Broker (Mosquitto, with `max_queued_messages 200000`), generator and ingest share this machine's cores. A rate
is held when in the end the store shows every prediction that was told, at most five seconds after the last message.
For comparison, paho-mqtt with an empty callback, in the same run, flooded with the same messages. `make bench-fleet`
measures again.
"""


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _highest(folder: Path, seconds: float) -> float:
    """The highest rate that is held for a while."""
    held = 0.0
    for rate in _HIGHER:
        taken = running.ingest(folder, _port(), rate, seconds)
        print(f"{rate}: {_said(taken)}", file=sys.stderr, flush=True)
        if not taken.is_whole or taken.rate < 0.98 * rate:
            break
        held = taken.rate
    return held


def _said(taken: Taken) -> str:
    lost = taken.told - taken.shown
    cores = ", ".join(f"{name} {share:.2f}" for name, share in taken.cores.items())
    return (
        f"{taken.rate:,.0f}/s for {taken.seconds:.0f} s, {lost:,} of {taken.told:,} predictions missing, "
        f"{taken.behind_s:.1f} s behind; cores: {cores}; memory {taken.memory_mb[0]:.0f} → {taken.memory_mb[1]:.0f} MB"
    )


def _rows(bare: float, taken: Taken, highest: float) -> list[tuple[str, str, str, bool]]:
    share = max(highest, taken.rate if taken.is_whole else 0.0) / bare
    cores = ", ".join(f"{name} {used:.2f}" for name, used in taken.cores.items())
    early, late = taken.memory_mb
    return [
        (
            f"DDATA a second into SQLite, held for {taken.seconds:.0f} s",
            f"{taken.rate:,.0f} ({taken.told - taken.shown:,} of {taken.told:,} predictions missing, "
            f"{taken.behind_s:.1f} s behind)",
            f"≥ {_RATE:,}, none missing",
            taken.is_whole and taken.rate >= 0.99 * _RATE,
        ),
        (
            "highest rate held ÷ bare paho-mqtt",
            f"{share:.2f} ({share * bare:,.0f} ÷ {bare:,.0f})",
            f"≥ {_SHARE_OF_BARE}",
            share >= _SHARE_OF_BARE,
        ),
        (
            "memory of ingest after 10 s and at the end",
            f"{early:.0f}, {late:.0f} MB",
            f"× {_MORE_MEMORY} at most",
            late <= _MORE_MEMORY * early,
        ),
        ("cores used meanwhile", cores, "–", True),
    ]


def main() -> int:
    """Measure, print, write; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="rewrite the table in this page")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the rate is to be held")
    options = parser.parse_args()
    neighbours = machine.Neighbours()
    with tempfile.TemporaryDirectory(prefix="edgeward-bench-") as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        bare = running.bare(folder, _port(), 10.0)
        print(f"bare paho-mqtt: {bare:,.0f}/s", file=sys.stderr, flush=True)
        taken = running.ingest(folder, _port(), _RATE, options.seconds)
        print(_said(taken), file=sys.stderr, flush=True)
        highest = _highest(folder, 15.0)
    rows = _rows(bare, taken, highest)
    size = Templates(1, 1).message_bytes
    when = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    cells = [
        (what, measured, must, "–" if must == "–" else "met" if met else "not met")
        for what, measured, must, met in rows
    ]
    report = (
        f"Measured on {when}: {machine.describe()}; {size} bytes a message. "
        f"Other programs had {neighbours.share():.0%} of the processors' time meanwhile, broker included.\n\n"
        f"{document.table(('', 'measured', 'must be', ''), cells)}"
    )
    print(report)
    if options.write is not None:
        document.write_part(options.write, "bench-fleet", report, _INTRODUCTION)
    return 0 if all(met for *_, met in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
