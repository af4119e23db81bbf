"""A download is as fast as it may be, and given up when it is too slow to end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeward_runtimes.errors import ConfigError
from edgeward_runtimes.update.pace import Limits, Pace, parse


@pytest.mark.parametrize(("text", "rate"), [("200k", 200_000), ("1.5M", 1_500_000), ("64000", 64_000), (None, None)])
def test_a_bandwidth_is_read(text: str | None, rate: float | None) -> None:
    assert parse(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "-1k", "0", "1e9", "10 kB/s"])
def test_what_is_no_bandwidth_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no bandwidth"):
        parse(text)


@given(st.lists(st.integers(1, 2**16), min_size=1), st.floats(1e2, 1e7))
def test_whoever_waits_as_told_never_exceeds_the_bandwidth(chunks: list[int], rate: float) -> None:
    pace, now = Pace(Limits(bytes_per_s=rate), 0.0), 0.0
    for chunk in chunks:
        now += pace.after(chunk, now)
    assert sum(chunks) <= rate * now * (1 + 1e-9)


def test_a_trickle_is_given_up_and_a_slow_line_is_not() -> None:
    limits = Limits(least_bytes_per_s=100, timeout_s=10)
    trickle, line = Pace(limits, 0.0), Pace(limits, 0.0)
    trickle.after(900, 9.0)
    line.after(1100, 9.0)
    assert not trickle.too_slow(9.0)
    assert trickle.too_slow(10.0)
    assert not line.too_slow(10.0)


def test_a_low_limit_of_our_own_is_no_trickle() -> None:
    pace = Pace(Limits(bytes_per_s=50, timeout_s=10), 0.0)
    pace.after(400, 9.0)
    assert not pace.too_slow(10.0)
