"""Installs that go wrong leave no brick: a small part of `make chaos-install`, on a disk of its own."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.chaos_install import STEPS, plan
from tests.conftest import REPOSITORY


def _has_own_mounts() -> bool:
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
def test_twelve_installs_that_go_wrong_leave_no_brick(tmp_path: Path) -> None:
    if not _has_own_mounts():
        pytest.skip("this system allows no mount namespaces: unshare --mount")
    page = tmp_path / "page.md"
    command = [sys.executable, "-m", "tests.benchmarks.chaos_install", "--installs", "12", "--write", str(page)]
    completed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr + completed.stdout
    assert re.search(r"12 disturbed installs in \d+ s, 0 bricks", page.read_text())
    assert str(REPOSITORY) not in Path("/proc/mounts").read_text()


def test_the_plan_has_every_kind_of_fault_and_every_step() -> None:
    faults = plan(300, seed=1)
    assert len(faults) == 300
    assert plan(300, seed=1) == faults
    orders = {fault.order for fault in faults}
    assert {f"kill {when} {step}" for when in ("at", "after") for step in STEPS} <= orders
    assert {f"read-only {step}" for step in ("start", *STEPS)} <= orders
    assert sum(order.startswith("corrupt ") for order in orders) == 4
    assert any(order.startswith("full ") for order in orders)
