"""The health window: when a release counts as worse than the one it replaced."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeward_runtimes.errors import ConfigError
from edgeward_runtimes.install import health
from edgeward_runtimes.install.health import Limits
from edgeward_runtimes.latency.counters import Counters
from edgeward_runtimes.latency.histogram import Histogram

MS = 1_000_000
LIMITS = Limits()


def _counted(predictions: int, errors: int = 0, ms: float = 2.0, slow: int = 0, slow_ms: float = 50.0) -> Counters:
    latencies = [int(ms * MS)] * (predictions - slow) + [int(slow_ms * MS)] * slow
    return Counters("1.0-a", "epoch", errors, Histogram.of(latencies))


def test_a_release_that_fails_or_is_slow_is_out_of_bounds() -> None:
    old = _counted(10_000, errors=10)
    assert health.judge(LIMITS, old, _counted(1000, errors=1)) is None
    assert "failed" in (health.judge(LIMITS, old, _counted(800, errors=200)) or "")
    assert "p95 is" in (health.judge(LIMITS, old, _counted(1000, ms=4.0)) or "")
    assert health.judge(LIMITS, old, _counted(1000, ms=2.5)) is None
    assert "p95 is" in (health.judge(LIMITS, old, _counted(1000, slow=150)) or "")


def test_few_predictions_are_not_judged() -> None:
    assert health.judge(LIMITS, _counted(10_000), _counted(0, errors=99)) is None
    assert health.judge(LIMITS, _counted(10_000), _counted(99, ms=500.0)) is None


def test_without_an_old_release_that_predicted_latency_is_not_judged_but_errors_are() -> None:
    assert health.judge(LIMITS, _counted(3), _counted(1000, ms=500.0)) is None
    assert "failed" in (health.judge(LIMITS, _counted(0), _counted(900, errors=100)) or "")


@given(
    predictions=st.integers(100, 5000),
    errors=st.integers(0, 50),
    slow=st.integers(0, 100),
    scale=st.integers(1, 20),
)
def test_a_release_that_does_exactly_as_the_old_one_did_is_healthy(
    predictions: int, errors: int, slow: int, scale: int
) -> None:
    old = _counted(predictions * scale, errors * scale, slow=slow * scale)
    assert health.judge(LIMITS, old, _counted(predictions, errors, slow=slow)) is None


@given(some=st.integers(0, 1000), more=st.integers(0, 1000))
def test_what_a_share_is_at_least_is_never_above_it_and_grows_with_the_evidence(some: int, more: int) -> None:
    share = health.at_least(some, some + more)
    assert 0 <= share <= (some / (some + more) if some + more else 0) + 1e-12
    assert health.at_least(10 * some, 10 * (some + more)) >= share - 1e-12


@given(
    st.builds(
        Limits,
        window_s=st.floats(1e-3, 86_400),
        errors=st.floats(0, 1),
        p95=st.floats(1, 1000),
        samples=st.integers(1, 1_000_000),
    )
)
def test_limits_are_read_as_they_are_written(limits: Limits) -> None:
    assert health.parse(str(limits)) == limits


def test_limits_are_written_as_people_write_them() -> None:
    assert health.parse("10m") == Limits(window_s=600)
    assert health.parse("1.5h,errors=2%,p95=3") == Limits(window_s=5400, errors=0.02, p95=3)


@pytest.mark.parametrize("text", ["", "10", "m", "10m,", "10m,speed=3", "10m,errors", "10m,p95=0.5", "-1m", "nanm"])
def test_what_is_no_window_says_how_one_is_written(text: str) -> None:
    with pytest.raises(ConfigError, match="is written like 10m,errors=1%"):
        health.parse(text)
