"""Installs that go wrong: `python -m tests.benchmarks.chaos_install [--installs 300] [--write docs/reliability.md]`.

A device on a small file system of its own (a tmpfs in a mount namespace, so nothing outside is touched) takes one
release after another, and each install is disturbed: killed with -9 at a random instant, at a random system call that
changes the disk, or at a journal step; the disk full or read-only from the start or from some step on; the bundle
corrupted before or while it is read. After each one, before anything is mended,

- `current` points at exactly one release, every byte of which is as it was sealed, and which predicts as it should;
- the next install succeeds, goes live, and leaves nothing behind.

What breaks one of these is a brick. Prints a table; exits with 1 when there was one.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import edgeward
from edgeward_runtimes.errors import EdgewardError
from edgeward_runtimes.home import Home
from edgeward_runtimes.install.installer import held, install
from edgeward_runtimes.install.slots import Slots
from tests.benchmarks import document
from tests.benchmarks.models import REPOSITORY
from tests.builders import write_bundle

STEPS = ("begin", "unpacked", "tested", "placed", "switched", "done")
_CORRUPTIONS = ("flipped", "cut", "longer", "flipped while it was read")
_INSIDE = "EDGEWARD_CHAOS_INSIDE"
_SIZE_MB = 96
_BALLAST_BYTES = 300_000  # of a release, so that writing it takes a while and needs room
_X = np.array([[1.0, 2.0]], np.float32)
_INTRODUCTION = """
## Installs that go wrong

`make chaos-install` disturbs installs in every way that it knows, one after the other on one device, and looks after
each, before anything is mended, whether the device has exactly one whole release that predicts, and whether the next
install succeeds. A brick is a device for which either does not hold.
"""


@dataclass(frozen=True)
class Fault:
    """One disturbance: its kind, as the table has it, and what the child (`chaos_child`) is told."""

    kind: str
    order: str


def plan(installs: int, seed: int) -> list[Fault]:
    """So many faults of all kinds, every journal step among them; the same for the same seed."""
    chance = random.Random(seed)
    killed = [
        Fault(f"killed at the step `{step}`", f"kill {when} {step}") for step in STEPS for when in ("at", "after")
    ]
    makers: list[tuple[float, Callable[[int], Fault]]] = [
        (0.34, lambda _: Fault("killed at a random instant", f"kill-in {chance.random():.4f}")),
        (0.16, lambda _: Fault("killed at a random disk call", f"kill-call {chance.randrange(90)}")),
        (0.24, lambda number: killed[number % len(killed)]),
        (0.10, lambda _: Fault("disk full", f"full {chance.randrange(0, int(1.2 * _BALLAST_BYTES))}")),
        (0.08, lambda number: Fault("disk read-only", f"read-only {('start', *STEPS)[number % 7]}")),
        (0.08, lambda number: Fault("bundle corrupted", f"corrupt {_CORRUPTIONS[number % 4]}")),
    ]
    faults = [make(number) for share, make in makers for number in range(round(share * installs))]
    faults += [makers[0][1](number) for number in range(installs - len(faults))]
    chance.shuffle(faults)
    return faults


class Device:
    """The device that is disturbed; `place` is the root of a file system of its own."""

    def __init__(self, place: Path, bundles: Path) -> None:
        self.home = Home(place / "device", place / "device" / "run")
        self._place = place
        self._bundles = bundles
        self._made = 0
        self.usual_s = 1.0  # how long an install takes here
        os.environ.update(self.home.environment)

    @property
    def slots(self) -> Slots:
        return Slots(self.home, "toy")

    def bundle(self) -> Path:
        """A new release, unlike all before."""
        self._made += 1
        settings = {"factor": 2.0 + self._made % 7 * 1e-5, "ballast": os.urandom(_BALLAST_BYTES // 2).hex()}
        artifacts = {"multiply-fp32": json.dumps(settings).encode()}
        path = self._bundles / f"{self._made % 4}.edge"
        write_bundle(path, version=f"1.{self._made}.0", artifacts=artifacts)
        return path

    def install_next(self) -> None:
        """Install another release undisturbed; AssertionError when it does not go live."""
        begun = time.monotonic()
        installed = install(self.home, self.bundle())
        self.usual_s = 0.5 * self.usual_s + 0.5 * (time.monotonic() - begun)
        assert self.current() == installed.release, "the next install did not go live"
        assert self.slots.entries()[-1].step == "done", "the journal did not end"
        left = {folder.name for folder in self.slots.releases.iterdir() if folder.name.startswith(".")}
        assert not left, f"left behind: {left}"

    def current(self) -> str:
        """The current release, which is whole and predicts as it should; AssertionError otherwise."""
        name = self.slots.target("current")
        assert name is not None, "no release is current"
        assert held(self.home, "toy", name) is not None, f"{name} is not whole"
        settings = json.loads(next((self.slots.current() / "variants").iterdir()).read_text())
        with edgeward.load("toy") as model:
            assert np.array_equal(model.predict(_X), _X * np.float32(settings["factor"])), f"{name} predicts wrongly"
        return name

    def disturb(self, fault: Fault) -> tuple[bool, str]:
        """Install a release with a fault; whether the install ended well all the same, and that release."""
        bundle = self.bundle()
        release = edgeward.Bundle.open(bundle).release_id
        order = fault.order.split(" ", 1)
        if order[0] == "corrupt" and "while" not in order[1]:
            _corrupt(bundle, order[1])
        with self._full(int(order[1])) if order[0] == "full" else _nothing():
            command = [sys.executable, "-m", "tests.benchmarks.chaos_child", str(self._place), str(bundle), *order]
            child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=REPOSITORY)
            if order[0] == "kill-in":
                time.sleep(float(order[1]) * 1.5 * self.usual_s)
                child.send_signal(signal.SIGKILL)
            _, said = child.communicate(timeout=120)
        subprocess.run(["mount", "-o", "remount,rw", self._place], check=True)
        assert b"Traceback" not in said, said.decode()
        return child.returncode == 0, release

    @contextmanager
    def _full(self, left_bytes: int) -> Iterator[None]:
        """Have the disk filled up, but for so many bytes."""
        ballast = self._place / "ballast"
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(self._place).free - left_bytes)
        try:
            yield
        finally:
            ballast.unlink()


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _corrupt(bundle: Path, how: str) -> None:
    content = bytearray(bundle.read_bytes())
    if how == "cut":
        del content[len(content) // 2 :]
    elif how == "longer":
        content += os.urandom(1000)
    else:
        content[len(content) // 3] ^= 0x10
    bundle.write_bytes(content)


class Tally:
    """What became of the installs, by kind of fault."""

    def __init__(self) -> None:
        self.installs: Counter[str] = Counter()
        self.ended_well: Counter[str] = Counter()
        self.new_live: Counter[str] = Counter()
        self.bricks: list[str] = []

    def table(self) -> str:
        rows = [
            (
                kind,
                str(count),
                str(count - self.ended_well[kind]),
                str(count - self.new_live[kind]),
                str(self.new_live[kind]),
                str(sum(brick.startswith(f"{kind}:") for brick in self.bricks)),
            )
            for kind, count in sorted(self.installs.items())
        ]
        totals = [str(sum(int(row[column]) for row in rows)) for column in range(1, 6)]
        header = ("fault", "installs", "died or refused", "old release live", "new release live", "bricks")
        return document.table(header, [*rows, ("all", *totals)])


def run(faults: list[Fault], place: Path, bundles: Path) -> Tally:
    """Disturb one device with all faults, one after the other."""
    device, tally = Device(place, bundles), Tally()
    for _ in range(3):
        device.install_next()
    for number, fault in enumerate(faults):
        before = device.slots.target("current")
        tally.installs[fault.kind] += 1
        try:
            ended_well, release = device.disturb(fault)
            current = device.current()
            assert current in (before, release), f"{current} is current, neither the old nor the new release"
            assert not ended_well or current == release, "it ended well, but the new release is not live"
            tally.ended_well[fault.kind] += ended_well
            tally.new_live[fault.kind] += current == release
            device.install_next()
        except (AssertionError, EdgewardError, OSError) as error:
            tally.bricks.append(f"{fault.kind}: {fault.order}: {error}")
            print(f"BRICK {tally.bricks[-1]}", file=sys.stderr)
            shutil.rmtree(device.home.root, ignore_errors=True)
            device.install_next()
        if sys.stderr.isatty() or number % 25 == 24:
            print(f"{number + 1} of {len(faults)} installs", file=sys.stderr)
    return tally


@contextmanager
def _small_disk() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE_MB}m", "edgeward-chaos", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def _plug_in(folder: Path) -> None:
    """Install tests/plugin_engine.py for us and our children, as tests/conftest.py does."""
    shutil.copy(REPOSITORY / "tests" / "plugin_engine.py", folder / "multiply_engine.py")
    metadata = folder / "multiply_engine-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: multiply-engine\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[edgeward.engines]\nmultiply = multiply_engine:MultiplyEngine\n")
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--installs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    if _INSIDE not in os.environ:
        os.environ[_INSIDE] = "1"
        as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        command = ["unshare", *as_root, "--mount", "--propagation", "private", sys.executable, "-m", __spec__.name]
        os.execvp(command[0], [*command, *sys.argv[1:]])
    begun = time.monotonic()
    with _small_disk() as place, tempfile.TemporaryDirectory() as folder:
        _plug_in(Path(folder))
        tally = run(plan(options.installs, options.seed), place, Path(folder))
    print(tally.table())
    summary = (
        f"{sum(tally.installs.values())} disturbed installs in {time.monotonic() - begun:.0f} s, "
        f"{len(tally.bricks)} bricks (seed {options.seed})."
    )
    print(summary)
    if options.write is not None:
        document.write_part(options.write, "chaos-install", f"{tally.table()}\n\n{summary}", _INTRODUCTION)
    return int(bool(tally.bricks))


if __name__ == "__main__":
    sys.exit(main())
