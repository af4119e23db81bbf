"""A rollout end to end: real agents, a signed registry, the monitor with all its processes, predicting applications.

A good release through fifty agents, and other bad ones, are in `make bench-rollouts`.
"""

from pathlib import Path

import pytest

from tests.benchmarks.rollouts import bench

pytestmark = pytest.mark.slow


def test_a_slow_release_is_taken_back_from_the_canary_though_the_process_is_killed(tmp_path: Path) -> None:
    with bench(tmp_path, 3, "34%,100%", pause_s=0.01, interval_s=0.5) as made:
        slow = made.roll_out("1.3.0", "slow", kill_at_stage=1)
    assert slow.state == "failed"
    assert "the gate is 2.00" in slow.reason
    assert len(slow.touched) == 2
    assert slow.running == {"1.0.0": 3}
    assert (slow.failed_there, slow.failed_elsewhere) == (0, 0)
