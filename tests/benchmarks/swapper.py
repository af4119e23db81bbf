"""The device's other half in the soak: swaps releases and folds counts, in a process of its own.

`python -m tests.benchmarks.swapper NAME NEWER.edge EVERY_S` installs NEWER and rolls back by turns, collects the
latency files after each swap as the agent does, and ends when its standard input is closed; it prints the number of
swaps.
"""

import select
import sys
from pathlib import Path

from edgeward_runtimes.home import Home
from edgeward_runtimes.install.installer import install, rollback
from edgeward_runtimes.latency.fold import CounterStore


def main(name: str, newer: Path, every_s: float) -> int:
    """Swap until standard input ends; the number of swaps."""
    home, store, swaps = Home.default(), CounterStore(Home.default()), 0
    while not _is_over(every_s):
        if swaps % 2 == 0:
            install(home, newer)
        else:
            rollback(home, name)
        store.collect()
        swaps += 1
    store.close()
    return swaps


def _is_over(within_s: float) -> bool:
    """Whether standard input ended; waits for that no longer than said."""
    readable, _, _ = select.select([sys.stdin], [], [], within_s)
    return bool(readable)


if __name__ == "__main__":
    print(main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])))
