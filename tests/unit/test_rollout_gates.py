"""What a rollout is told, as people write it; and when a release keeps its gates, exceeds them, or nobody knows yet."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeward.monitor.rollouts import terms
from edgeward.monitor.rollouts.gates import Calls, Compared, judge, p95_ms
from edgeward.monitor.rollouts.terms import Gates
from edgeward_runtimes.errors import ConfigError
from edgeward_runtimes.latency.histogram import Histogram


def calls(count: int, milliseconds: float = 1.0, errors: int = 0) -> Calls:
    one = Histogram.of([int(milliseconds * 1e6)])
    return Calls(Histogram(one.counts * np.uint64(count), one.sum_ns * count), errors)


def spread(count: int, factor: float, seed: int) -> Calls:
    """Latencies as they are: log-normal around some milliseconds."""
    latencies = np.random.default_rng(seed).lognormal(np.log(5e6 * factor), 0.3, count)
    return Calls(Histogram.of(latencies.astype(int).tolist()))


def test_a_release_as_fast_as_the_old_one_keeps_its_p95() -> None:
    assert judge(Gates(p95=1.1), [Compared(calls(1000), calls(200))], 200).state == "kept"


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_no_slowness_and_slowness_is_no_noise(seed: int) -> None:
    old = spread(20_000, 1.0, seed)
    assert judge(Gates(p95=1.1), [Compared(old, spread(2000, 1.0, seed + 50))], 200).state == "kept"
    slow = judge(Gates(p95=1.1), [Compared(old, spread(2000, 1.3, seed + 50))], 200)
    assert slow.state == "exceeded"
    assert "of the old release's" in slow.reason


def test_a_release_that_is_far_too_slow_is_seen_before_there_are_enough_calls() -> None:
    assert judge(Gates(p95=1.1), [Compared(calls(1000), calls(20, 5.0))], 200).state == "exceeded"
    assert judge(Gates(p95=1.1), [Compared(calls(1000), calls(2, 5.0))], 200).state == "unknown", "two odd calls"


def test_too_few_calls_say_nothing_and_how_many_are_missing() -> None:
    found = judge(Gates(p95=1.1, errors=0.01), [Compared(calls(1000), calls(50))], 200)
    assert (found.state, found.reason) == ("unknown", "50 of 200 calls that p95 takes")


def test_a_share_takes_as_many_calls_as_it_takes_to_see_it() -> None:
    assert judge(Gates(errors=0.001), [Compared(calls(1000), calls(200))], 200).reason == (
        "200 of 1000 calls that errors takes"
    )
    assert judge(Gates(errors=0.001), [Compared(calls(1000), calls(1000))], 200).state == "kept"


def test_errors_are_compared_with_those_of_the_old_release() -> None:
    old = calls(900, errors=100)
    assert judge(Gates(errors=0.01), [Compared(old, calls(900, errors=100))], 200).state == "kept"
    worse = judge(Gates(errors=0.01), [Compared(old, calls(800, errors=200))], 200)
    assert worse.state == "exceeded"
    assert worse.reason.startswith("200 of 1000 calls failed (20.00%); the old release's share was 10.00%")


def test_a_release_that_never_answers_is_seen_by_its_errors() -> None:
    found = judge(Gates(p95=1.1, errors=0.001), [Compared(calls(1000), calls(0, errors=8))], 200)
    assert found.state == "exceeded"


def test_a_slow_device_that_was_busier_before_does_not_make_the_release_look_slow() -> None:
    """Nor one that is busier now: each device's old calls count as much as its new ones."""
    fast, slow = Compared(calls(10_000, 1.0), calls(100, 1.0)), Compared(calls(100, 9.0), calls(900, 9.0))
    assert judge(Gates(p95=1.1), [fast, slow], 200).state == "kept"
    before, now = p95_ms([fast, slow])
    assert before == pytest.approx(now)


def test_a_first_release_has_no_p95_to_be_compared_with() -> None:
    assert judge(Gates(p95=1.1), [Compared(Calls(), calls(10))], 200).state == "kept"


def test_drift_is_that_of_the_worst_device_and_unknown_where_nobody_tells_it() -> None:
    def device(drift: float | None) -> Compared:
        return Compared(calls(10), calls(10), drift)

    assert judge(Gates(drift=0.2), [device(None), device(None)], 1).state == "unknown"
    assert judge(Gates(drift=0.2), [device(0.1), device(None)], 1).state == "kept"
    assert judge(Gates(drift=0.2), [device(0.1), device(0.3)], 1).state == "exceeded"


@given(
    st.lists(st.tuples(st.integers(0, 400), st.floats(0.01, 500), st.integers(0, 50)), max_size=6),
    st.integers(1, 500),
)
def test_a_release_is_never_worse_than_itself(devices: list[tuple[int, float, int]], samples: int) -> None:
    """Whatever it is: the same calls, before and after, exceed no gate that compares."""
    compared = [Compared(calls(*each), calls(*each)) for each in devices]
    assert judge(Gates(p95=1.0, errors=0.0), compared, samples).state != "exceeded"


@given(st.floats(1.05, 20), st.integers(50, 300))
def test_the_higher_the_gate_the_more_is_kept(slower: float, count: int) -> None:
    devices = [Compared(calls(1000), calls(count, slower))]
    found = [judge(Gates(p95=limit), devices, 50).state for limit in (1.0, slower * 0.9, slower * 1.1, slower * 2)]
    assert found[-2:] == ["kept", "kept"]
    assert "exceeded" not in found[found.index("kept") :]


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("10m", 600), ("1h30m", 5400), ("2d", 172_800), ("0s", 0)])
def test_durations(text: str, seconds: float) -> None:
    assert terms.parse_duration(text) == seconds


def test_stages_and_gates() -> None:
    assert terms.parse_stages("5%, 25%,100%") == (0.05, 0.25, 1.0)
    assert terms.parse_gates("p95=1.10,errors=0.1%,drift=0.2") == Gates(1.1, 0.001, 0.2)
    assert terms.parse_gates("errors=0.05") == Gates(errors=0.05)
    assert terms.parse_gates("") == Gates()


@pytest.mark.parametrize(
    "text", ["", "5%", "50%,25%,100%", "5%,5%,100%", "0%,100%", "5%,200%", "5,100", "x", "5%;100%"]
)
def test_stages_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="Stages"):
        terms.parse_stages(text)


@pytest.mark.parametrize(
    "text", ["p95", "p95=x", "p95=0.9", "p99=1.1", "errors=200%", "p95=1.1,p95=1.2", "drift=-1", "drift=nan"]
)
def test_gates_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="Gate"):
        terms.parse_gates(text)


@given(st.text(max_size=20))
def test_whatever_is_written_is_understood_or_refused(text: str) -> None:
    for parse in (terms.parse_stages, terms.parse_duration, terms.parse_gates, terms.parse_share):
        with contextlib.suppress(ConfigError):
            parse(text)


@given(st.lists(st.floats(0.001, 0.999), unique=True, max_size=5), st.integers(1, 10_000))
def test_stages_reach_ever_more_devices_and_in_the_end_all(shares: list[float], devices: int) -> None:
    sizes = terms.stage_sizes((*sorted(shares), 1.0), devices)
    assert sizes[-1] == devices
    assert list(sizes) == sorted(sizes)
    assert sizes[0] >= 1


@pytest.mark.parametrize(
    ("release", "version", "same"),
    [
        ("1.1.0-0a1b2c3d", "1.1.0", True),
        ("1.1.0-rc-0a1b2c3d", "1.1.0-rc", True),
        ("1.1.0-0a1b2c3d", "1.1.0-0a1b2c3d", True),
        ("1.1.0-rc-0a1b2c3d", "1.1.0", False),
        ("1.1.01-0a1b2c3d", "1.1.0", False),
    ],
)
def test_which_release_is_of_which_version(release: str, version: str, *, same: bool) -> None:
    assert terms.is_release_of(release, version) is same
