"""One disturbed install, in a process of its own: `python -m tests.benchmarks.chaos_child PLACE BUNDLE FAULT WORDS`.

Faults that come from outside (a kill by the clock, a disk that is full, a bundle that is corrupt) need nothing here;
the others are brought about by the installer's own calls, at which this process kills itself or its disk.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgeward_runtimes.errors import EdgewardError
from edgeward_runtimes.home import Home
from edgeward_runtimes.install.installer import install
from edgeward_runtimes.install.journal import Entry
from edgeward_runtimes.install.slots import Slots

_CHANGES = ("open", "write", "fsync", "rename", "replace", "symlink", "unlink", "mkdir", "rmdir")
_PLENTY = shutil._ntuple_diskusage(2**40, 0, 2**40)  # type: ignore[attr-defined]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_step(step: str, before: Any, after: Any = None) -> None:
    """Do something before, or after, a step is noted in the journal."""
    note = Slots.note

    def noting(self: Slots, entry: Entry) -> None:
        if entry.step == step and before is not None:
            before()
        note(self, entry)
        if entry.step == step and after is not None:
            after()

    Slots.note = noting  # type: ignore[method-assign]


def at_call(number: int) -> None:
    """Die instead of the so-manieth call that changes the disk."""
    remaining = [number]

    def counted(function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            remaining[0] -= 1
            if remaining[0] < 0:
                die()
            return function(*arguments, **options)

        return call

    for name in _CHANGES:
        setattr(os, name, counted(getattr(os, name)))


def prepare(place: str, bundle: Path, fault: str, words: str) -> None:
    """Set the fault up."""

    def read_only() -> None:
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)

    def flip() -> None:
        content = bytearray(bundle.read_bytes())
        content[len(content) // 3] ^= 0x10
        bundle.write_bytes(content)

    if fault == "kill":
        when, step = words.split()
        at_step(step, die if when == "at" else None, die if when == "after" else None)
    elif fault == "kill-call":
        at_call(int(words))
    elif fault == "full":  # it fills up after it was looked at
        shutil.disk_usage = lambda path: _PLENTY  # type: ignore[assignment]
    elif fault == "read-only" and words == "start":
        read_only()
    elif fault == "read-only":
        at_step(words, read_only)
    elif fault == "corrupt" and "while" in words:
        at_step("begin", flip)


def main() -> int:
    place, bundle, fault, words = sys.argv[1:]
    prepare(place, Path(bundle), fault, words)
    try:
        install(Home.default(), Path(bundle))
    except EdgewardError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
